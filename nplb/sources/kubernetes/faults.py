"""What can go wrong between nplb and an API server, each with what to do about it.

Everything that ends a request becomes an `ApiFault`: an exception of the HTTP library, an HTTP
status, or an ERROR event of a watch. Its text goes to the status, the log and the terminal.
"""

import json
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from nplb.model.errors import ClusterError
from nplb.model.secrets import scrubbed
from nplb.sources.kubernetes.resources import Scope, Target

_MAX_SHOWN = 300
_MAX_RETRY_AFTER_SECONDS = 120.0
_USER = re.compile(r'User "([^"]*)"')


class ApiFault(ClusterError):
    """A request failed. The text says what happened, where, and what to do.

    `status` is the HTTP status or a Status' code, 0 if there was no answer. `retry_after` is
    the server's own wish in seconds. `forget_version`: the version watched from is no good, list
    again. `renew`: the next attempt needs a new client (credentials, address, CA).
    """

    def __init__(
        self,
        text: str,
        *,
        status: int = 0,
        retry_after: float | None = None,
        forget_version: bool = False,
        renew: bool = False,
    ) -> None:
        super().__init__(scrubbed(text))
        self.status = status
        self.retry_after = retry_after
        self.forget_version = forget_version
        self.renew = renew


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of whom, for errors: `verb` is the RBAC verb (list, watch, patch)."""

    verb: str
    scope: Scope | Target
    server: str
    origin: str
    connect_seconds: float
    silence_seconds: float

    def __str__(self) -> str:
        return f"{self.verb} {self.scope}"


def fault_of_answer(asked: Asked, status: int, headers: Mapping[str, str], body: bytes) -> ApiFault:
    """The fault that an answer with an HTTP status other than 200 means."""
    answer = _json_object(body)
    said = _message(answer)
    retry_after = _retry_after(headers, answer)
    # Without what was asked: an outage gives every request the same text, and it shows once.
    start = f"{asked.server} answers {_phrase(status)}"
    if status == HTTPStatus.UNAUTHORIZED:
        text = (
            f"{start}: the credentials of {asked.origin} are missing, wrong or expired; renew them"
        )
        return ApiFault(text, status=status, renew=True)
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(asked, said)
    if answer is None:
        kind = headers.get("Content-Type", "no type").partition(";")[0].strip()
        text = (
            f"{start}, and not as an API server does ({kind}): a proxy or load balancer in front "
            "of it answers in its place; check that, and the server's address"
        )
        return ApiFault(text, status=status, retry_after=retry_after)
    if status == HTTPStatus.NOT_FOUND and isinstance(asked.scope, Target):
        return ApiFault(f"{start} to {asked}: {said}", status=status)
    if status == HTTPStatus.NOT_FOUND:
        text = f"{start} to {asked}: nplb needs Kubernetes 1.21 or later"
        return ApiFault(text, status=status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wish = f" for {retry_after:g} s" if retry_after is not None else ""
        text = (
            f"{start}: it asks to wait{wish}; if this lasts, it is overloaded, or its priority "
            "and fairness settings leave this user too little"
        )
        return ApiFault(text, status=status, retry_after=retry_after)
    advice = "; look into its log if this lasts" if status >= 500 else ""
    # A version that the server refuses may come as any of these: 410 Expired, 504 Too large
    # resource version, 400 or 500 for one it can't read.
    forget = status in (400, 410, 500, 504)
    text = f"{start}: {said}{advice}"
    if status < 500:
        text = f"{start} to {asked}: {said}"
    return ApiFault(text, status=status, retry_after=retry_after, forget_version=forget)


def fault_of_event(asked: Asked, status: Mapping[str, Any]) -> ApiFault:
    """The fault that a Status within a watch means, in an ERROR event or by itself."""
    code = status.get("code")
    code = code if isinstance(code, int) else 0
    said = _message(status)
    start = f"{asked.server} ended the {asked} with an error"
    if code == HTTPStatus.GONE:
        return ApiFault(f"{start}: {said}; listing again", status=code, forget_version=True)
    if code == HTTPStatus.FORBIDDEN:
        return _forbidden(asked, said)
    if code == HTTPStatus.UNAUTHORIZED:
        text = f"{start}: {said}; renew the credentials of {asked.origin}"
        return ApiFault(text, status=code, renew=True)
    retry_after = _retry_after({}, status)
    text = f"{start}: {said}"
    return ApiFault(text, status=code, retry_after=retry_after, forget_version=True)


def _forbidden(asked: Asked, said: str) -> ApiFault:
    user = _USER.search(said)
    who = f"user {user[1]}" if user else f"the user of {asked.origin}"
    text = (
        f"{asked.server} answers 403 Forbidden: {who} has no right to {asked}; "
        "grant it, deploy/rbac has the smallest roles that nplb needs"
    )
    return ApiFault(text, status=403, renew=True)


def fault_of_exception(asked: Asked, error: Exception, *, answered: bool) -> ApiFault:
    """The fault that an exception of the HTTP library or of the system means. `answered`: the
    server's answer had begun."""
    server, origin = asked.server, asked.origin
    start = f"can't connect to {server}"
    address = f"check the server's address in {origin}"
    match error:
        case aiohttp.ClientProxyConnectionError():
            text = (
                f"{start}: the proxy does not answer; check proxy-url in {origin} and HTTPS_PROXY"
            )
        case aiohttp.ClientHttpProxyError():
            said = _phrase(error.status)
            text = f"{start}: the proxy answers {said}; check proxy-url in {origin} and HTTPS_PROXY"
        case aiohttp.ClientConnectorCertificateError():
            text = _untrusted(asked, error.certificate_error)
        case ssl.SSLCertVerificationError():
            text = _untrusted(asked, error)
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            text = _tls(asked, error)
        case aiohttp.ClientConnectorDNSError():
            said = _os_text(error.os_error)
            text = f"{start}: its name can't be resolved ({said}); {address} and this host's DNS"
        case aiohttp.ClientConnectorError():
            said = _os_text(error.os_error)
            text = f"{start}: {said}; check that the API server runs, and {address[6:]}"
        case aiohttp.ConnectionTimeoutError():
            text = (
                f"{start}: no answer within {asked.connect_seconds:g} s; {address}, and the "
                "routes and firewalls between"
            )
        case aiohttp.ServerTimeoutError() | TimeoutError():
            text = (
                f"{server} has sent nothing for {asked.silence_seconds:g} s: the connection is "
                "taken for dead; connecting again"
            )
            return ApiFault(text)
        case aiohttp.ServerDisconnectedError() | ConnectionError() if not answered:
            text = f"{server} closed the connection without an answer; connecting again"
            if server.startswith("https"):
                # The library hides that TLS 1.3 says so only now.
                text += f" (if this lasts: it may ask for a client certificate, see {origin})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | ConnectionError():
            text = f"{server} cut the connection in the middle of an answer"
            return ApiFault(f"{text}; connecting again")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            text = f"{start}: this is not an address of a web server; {address}"
        case OSError():
            text = f"{start}: {_os_text(error)}; {address}"
        case _:
            text = f"{server}: {type(error).__name__} on {asked}; {address}"
    return ApiFault(text, renew=True)


def _untrusted(asked: Asked, error: Exception) -> str:
    said = getattr(error, "verify_message", "") or "it can't be verified"
    start = f"the certificate of {asked.server} is not trusted: {said.lower()}"
    if "expired" in said or "not yet valid" in said:
        return f"{start}; renew it, or correct this host's clock"
    if "mismatch" in said.lower():
        return f"{start}; correct the server's address or set tls-server-name in {asked.origin}"
    return f"{start}; check certificate-authority in {asked.origin}"


def _tls(asked: Asked, error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    reason = getattr(cause, "reason", None) or "the handshake failed"
    said = str(reason).replace("_", " ").lower()
    start = f"TLS with {asked.server} failed: {said}"
    if "alert" in said:
        return f"{start}: the server refuses the client certificate of {asked.origin}; renew it"
    return f"{start}; check that an API server speaks https on this port"


def _os_text(error: OSError) -> str:
    """What the system says, without the addresses that asyncio puts in."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _message(status: Mapping[str, Any] | None) -> str:
    said = status.get("message") if status is not None else None
    if not isinstance(said, str) or not said:
        return "no message"
    return said if len(said) <= _MAX_SHOWN else f"{said[: _MAX_SHOWN - 3]}..."


def _retry_after(headers: Mapping[str, str], status: Mapping[str, Any] | None) -> float | None:
    """Seconds, from the header or the Status' details. A date is not taken: no API server
    sends one."""
    details = status.get("details") if status is not None else None
    listed = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    for value in (headers.get("Retry-After"), listed):
        try:
            seconds = float(str(value))
        except ValueError:
            continue
        if seconds > 0:
            return min(seconds, _MAX_RETRY_AFTER_SECONDS)
    return None
