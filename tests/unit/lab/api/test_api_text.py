"""What comes in as bytes: JSON as Go reads it, kubectl's protobuf; and certificates going out."""

import json
import random
import ssl
import struct

import pytest

from nplb.lab.api.certificates import make_certificates
from nplb.lab.api.clusterips import AddressError, ClusterIPs
from nplb.lab.api.jsontext import JsonError, loads
from nplb.lab.api.openapi import version_2_protobuf, version_3
from nplb.lab.api.protobuf import ProtobufError, read_protobuf
from nplb.lab.api.registry import REGISTRY


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b'{"a"', "unexpected end of JSON input"),
        (b'["a', "unexpected end of JSON input"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"'x'", "invalid character '\\'' looking for beginning of value"),
        (b"{x", "invalid character 'x' looking for beginning of object key string"),
        (b'{"a":1 "b"', "invalid character '\"' after object key:value pair"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"[NaN]", "invalid character 'N' looking for beginning of value"),
        (b"-Infinity", "invalid character 'I' looking for beginning of value"),
        (b"[" * 100_000, "exceeded max depth"),
        (b"9" * 10_000, "invalid number literal"),
        (b"\xff\xfe", "invalid character '\u00ff' looking for beginning of value"),
    ],
)
def test_what_is_not_json(raw: bytes, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        loads(raw)
    assert str(caught.value) == message


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert loads(rb'{"a":"\ud800"}') == {"a": "\ufffd"}
    assert loads(rb'["\ud83d\ude00"]') == ["\U0001f600"]


def _field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        encoded, value = b"", value & (2**64 - 1)
        while value > 0x7F:
            encoded += bytes((value & 0x7F | 0x80,))
            value >>= 7
        return bytes((number << 3,)) + encoded + bytes((value,))
    raw = value.encode() if isinstance(value, str) else value
    assert len(raw) < 128
    return bytes((number << 3 | 2, len(raw))) + raw


def _envelope(kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + _field(1, _field(1, "v1") + _field(2, kind)) + _field(2, raw)


def test_a_service_in_protobuf() -> None:
    metadata = _field(1, "web") + _field(4, "") + _field(11, _field(1, "app") + _field(2, "x"))
    port = _field(1, "http") + _field(3, 80) + _field(4, _field(1, 0) + _field(2, 8080))
    named = _field(3, 81) + _field(4, _field(1, 1) + _field(3, "tls")) + _field(5, -1)
    spec = _field(1, port) + _field(1, named) + _field(4, "NodePort") + _field(12, 0)
    body = _envelope("Service", _field(1, metadata) + _field(2, spec) + _field(3, b""))
    assert read_protobuf(body) == {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "web", "labels": {"app": "x"}},
        "spec": {
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080},
                {"port": 81, "targetPort": "tls", "nodePort": -1},
            ],
            "type": "NodePort",
            "healthCheckNodePort": 0,
        },
    }


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"k8s\x00",
        _envelope("Deployment", b""),
        _envelope("Namespace", _field(9, "unknown")),
        _envelope("Namespace", b"\x0a\x7f"),
        _envelope("Namespace", _field(1, 7)),
        _envelope("Namespace", b"\x0d" + struct.pack("<I", 1)),
        _envelope("Namespace", b"\x80"),
    ],
)
def test_protobuf_that_is_not_known_is_refused(body: bytes) -> None:
    with pytest.raises(ProtobufError):
        read_protobuf(body)


def test_openapi_says_that_every_kind_can_run_dry() -> None:
    document = version_2_protobuf()
    for served in REGISTRY.groups():
        kinds = {resource.kind for resource in REGISTRY.in_group(served)}
        for kind in kinds:
            assert f'"kind":"{kind}"'.encode() in document
        described = version_3(served)
        text = json.dumps(described)
        for reference in set(text.split('"#/components/schemas/')[1:]):
            assert reference.partition('"')[0] in described["components"]["schemas"]


def test_a_certificate_verifies_strictly_and_only_for_its_hosts() -> None:
    certificates = make_certificates(["127.0.0.1", "localhost"])
    server, client = certificates.server_context(), ssl.create_default_context()
    client.load_verify_locations(cadata=certificates.ca_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name, is_good in (("127.0.0.1", True), ("localhost", True), ("example.com", False)):
        assert _shake_hands(server, client, name) is is_good
    stranger = ssl.create_default_context()
    stranger.load_verify_locations(cadata=make_certificates(["localhost"]).ca_pem)
    assert not _shake_hands(server, stranger, "localhost")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(10):
        done = 0
        for side in (client_side, server_side):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
        if done == 2:
            return True
    return False


def test_cluster_ips_come_from_the_upper_band_until_it_is_full() -> None:
    addresses = ClusterIPs("192.0.2.0/26", random.Random(1))
    # 62 usable addresses, of which 16 are kept for those who ask for one.
    drawn = [addresses.allocate_next() for _ in range(62)]
    numbers = [int(address.rpartition(".")[2]) for address in drawn]
    assert sorted(numbers[:46]) == list(range(17, 63))
    assert sorted(numbers[46:]) == list(range(1, 17))
    with pytest.raises(AddressError, match="range is full"):
        addresses.allocate_next()
    addresses.release("192.0.2.30")
    assert addresses.allocate_next() == "192.0.2.30"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.0.1", "the provided network does not match the current range"),
        ("nonsense", "the provided network does not match the current range"),
        ("192.0.2.0", "the provided IP is not in the valid range"),
        ("192.0.2.63", "the provided IP is not in the valid range"),
        ("192.0.2.9", "provided IP is already allocated"),
    ],
)
def test_cluster_ips_that_cannot_be_had(address: str, message: str) -> None:
    addresses = ClusterIPs("192.0.2.0/26", random.Random(1))
    addresses.allocate("192.0.2.9")
    with pytest.raises(AddressError, match=message):
        addresses.allocate(address)
    addresses.release(address)  # harmless, whatever it is
