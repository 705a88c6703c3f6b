"""A certificate authority of one afternoon, and a server certificate from it.

kubectl sends a bearer token over TLS alone, so the lab needs a certificate, made anew at each
start so that no private key lies around in a repository. Python's standard library has none of
it: this is ECDSA over P-256 (FIPS 186-4, SEC 1) and just enough DER (X.690, RFC 5280). It is not
constant-time, and meant for a sandbox on loopback and nothing else.
"""

import base64
import datetime
import hashlib
import ipaddress
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# secp256r1: the field, a, the generator, its order.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_A = _P - 3
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_VALID_DAYS = 365
_ORGANIZATION = "nplb lab"

_INTEGER, _BIT_STRING, _OCTET_STRING, _OID = 0x02, 0x03, 0x04, 0x06
_UTF8, _UTC_TIME, _SEQUENCE, _SET = 0x0C, 0x17, 0x30, 0x31

_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_PRIME256V1 = "1.2.840.10045.3.1.7"
_ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_COMMON_NAME, _ORGANIZATION_NAME = "2.5.4.3", "2.5.4.10"
_SUBJECT_KEY, _KEY_USAGE, _ALT_NAME = "2.5.29.14", "2.5.29.15", "2.5.29.17"
_BASIC, _AUTHORITY_KEY, _EXTENDED_USAGE = "2.5.29.19", "2.5.29.35", "2.5.29.37"
_SERVER_AUTH = "1.3.6.1.5.5.7.3.1"

_Point = tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM texts: the authority that clients trust, the server's certificate and its key."""

    ca_pem: str
    certificate_pem: str
    key_pem: str

    def server_context(self) -> ssl.SSLContext:
        """What a server listens with."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with tempfile.TemporaryDirectory() as directory:
            # The ssl module takes files only; the directory is its owner's alone.
            path = Path(directory) / "server.pem"
            path.write_text(self.certificate_pem + self.key_pem)
            context.load_cert_chain(path)
        return context


def make_certificates(hosts: Iterable[str]) -> Certificates:
    """An authority and a certificate for these addresses and names."""
    authority, server = _Key(), _Key()
    ca_name = _name("nplb lab certificate authority")
    key_cert_sign, crl_sign, digital_signature = 0x04, 0x02, 0x80
    ca = _certificate(
        subject=ca_name,
        subject_key=authority,
        issuer=ca_name,
        issuer_key=authority,
        extensions=[
            _extension(_BASIC, _der(_SEQUENCE, b"\x01\x01\xff"), critical=True),
            _extension(_KEY_USAGE, _bits(key_cert_sign | crl_sign), critical=True),
        ],
    )
    leaf = _certificate(
        subject=_name("nplb lab API server"),
        subject_key=server,
        issuer=ca_name,
        issuer_key=authority,
        extensions=[
            _extension(_BASIC, _der(_SEQUENCE), critical=True),
            _extension(_KEY_USAGE, _bits(digital_signature), critical=True),
            _extension(_EXTENDED_USAGE, _der(_SEQUENCE, _oid(_SERVER_AUTH))),
            _extension(_ALT_NAME, _der(_SEQUENCE, *map(_general_name, hosts))),
        ],
    )
    return Certificates(
        ca_pem=_pem("CERTIFICATE", ca),
        certificate_pem=_pem("CERTIFICATE", leaf),
        key_pem=_pem("EC PRIVATE KEY", server.private_der()),
    )


class _Key:
    """A key pair on P-256."""

    def __init__(self) -> None:
        self._secret = 1 + secrets.randbelow(_N - 1)
        point = _multiply(self._secret, _G)
        assert point is not None
        self.point = b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")

    @property
    def identifier(self) -> bytes:
        """RFC 5280 4.2.1.2, method 1."""
        return hashlib.sha1(self.point, usedforsecurity=False).digest()

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, as DER."""
        digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
        while True:
            nonce = 1 + secrets.randbelow(_N - 1)
            point = _multiply(nonce, _G)
            assert point is not None
            r = point[0] % _N
            s = pow(nonce, -1, _N) * (digest + r * self._secret) % _N
            if r and s:
                return _der(_SEQUENCE, _integer(r), _integer(s))

    def public_der(self) -> bytes:
        """SubjectPublicKeyInfo."""
        algorithm = _der(_SEQUENCE, _oid(_EC_PUBLIC_KEY), _oid(_PRIME256V1))
        return _der(_SEQUENCE, algorithm, _bit_string(self.point))

    def private_der(self) -> bytes:
        """ECPrivateKey, RFC 5915."""
        return _der(
            _SEQUENCE,
            _integer(1),
            _der(_OCTET_STRING, self._secret.to_bytes(32, "big")),
            _der(0xA0, _oid(_PRIME256V1)),
            _der(0xA1, _bit_string(self.point)),
        )


def _add(left: _Point, right: _Point) -> _Point:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    if left == right:
        slope = (3 * x1 * x1 + _A) * pow(2 * y1, -1, _P)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P)
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P


def _multiply(factor: int, point: _Point) -> _Point:
    result: _Point = None
    while factor:
        if factor & 1:
            result = _add(result, point)
        point = _add(point, point)
        factor >>= 1
    return result


def _certificate(
    *, subject: bytes, subject_key: _Key, issuer: bytes, issuer_key: _Key, extensions: list[bytes]
) -> bytes:
    algorithm = _der(_SEQUENCE, _oid(_ECDSA_SHA256))
    now = datetime.datetime.now(datetime.UTC)
    # A client's clock may be a little behind.
    not_before, not_after = now - datetime.timedelta(days=1), now + datetime.timedelta(_VALID_DAYS)
    identified = [
        _extension(_SUBJECT_KEY, _der(_OCTET_STRING, subject_key.identifier)),
        _extension(_AUTHORITY_KEY, _der(_SEQUENCE, _der(0x80, issuer_key.identifier))),
    ]
    body = _der(
        _SEQUENCE,
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(120) | 1),
        algorithm,
        issuer,
        _der(_SEQUENCE, _utc_time(not_before), _utc_time(not_after)),
        subject,
        subject_key.public_der(),
        _der(0xA3, _der(_SEQUENCE, *extensions, *identified)),
    )
    return _der(_SEQUENCE, body, algorithm, _bit_string(issuer_key.sign(body)))


def _name(common_name: str) -> bytes:
    parts = ((_ORGANIZATION_NAME, _ORGANIZATION), (_COMMON_NAME, common_name))
    return _der(
        _SEQUENCE,
        *(
            _der(_SET, _der(_SEQUENCE, _oid(kind), _der(_UTF8, value.encode())))
            for kind, value in parts
        ),
    )


def _general_name(host: str) -> bytes:
    try:
        return _der(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _der(0x82, host.encode())


def _extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = b"\x01\x01\xff" if critical else b""
    return _der(_SEQUENCE, _oid(kind), flag, _der(_OCTET_STRING, value))


def _der(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def _integer(number: int) -> bytes:
    # One more bit than it needs: the sign.
    return _der(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _bit_string(content: bytes) -> bytes:
    return _der(_BIT_STRING, b"\x00", content)


def _bits(flags: int) -> bytes:
    """A named bit list of one byte: unused low bits are counted and left out."""
    unused = (flags & -flags).bit_length() - 1
    return _der(_BIT_STRING, bytes((unused, flags)))


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = bytes((40 * first + second,))
    for number in rest:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        content += bytes(reversed(digits))
    return _der(_OID, content)


def _utc_time(when: datetime.datetime) -> bytes:
    return _der(_UTC_TIME, when.strftime("%y%m%d%H%M%SZ").encode())


def _pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
