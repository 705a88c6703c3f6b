"""A client of a running lab's control interface, for commands: one request at a time."""

import http.client
import json
import ssl
import urllib.parse
from http import HTTPStatus
from typing import Any

from nplb.lab.kubeconfig import Access
from nplb.model.errors import ClusterError, ConfigurationError

PREFIX = "/lab/v1"
TIMEOUT_SECONDS = 5.0

JsonObject = dict[str, Any]


class RefusedError(ConfigurationError):
    """The lab does not take the request: it names what is not there. The fault of whoever
    called, not of a file."""

    exit_code = 2


class LabClient:
    """Talks to the lab that wrote a kubeconfig.

    Every method raises RefusedError with the lab's own words for a request that makes no sense,
    ClusterError when no lab answers.
    """

    def __init__(self, access: Access, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._access = access
        self._url = access.control_url or access.url
        self._timeout = timeout

    def faults(self) -> JsonObject:
        """What is on, and the catalogue."""
        return self._ask("GET", "/faults")

    def fault(self, target: str, spec: str, seconds: float | None) -> JsonObject:
        """Turn a fault on, for a time if given."""
        body = {"target": target, "fault": spec, "seconds": seconds}
        return self._ask("POST", "/faults", body)

    def clear(self, target: str | None, name: str | None) -> JsonObject:
        """Turn faults off."""
        chosen = {"target": target, "fault": name}
        query = urllib.parse.urlencode({k: v for k, v in chosen.items() if v is not None})
        return self._ask("DELETE", f"/faults?{query}")

    def nodes(self) -> JsonObject:
        """The machines, and what is wrong."""
        return self._ask("GET", "/nodes")

    def add_node(self, name: str) -> JsonObject:
        """Add a machine; an empty name lets the lab choose."""
        return self._ask("POST", "/nodes", {"name": name})

    def _ask(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        # No proxy of the environment stands between this machine and its own loopback.
        connection = self._connect()
        try:
            connection.request(
                method,
                f"{PREFIX}{path}",
                body=json.dumps(body) if body is not None else None,
                headers={
                    "Authorization": f"Bearer {self._access.token}",
                    "Content-Type": "application/json",
                },
            )
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(
                f"no lab answers at {self._url} ({error}): it has ended; start one with `nplb lab`"
            ) from None
        finally:
            connection.close()
        return _read(response.status, text)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(self._url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self._timeout)
        try:
            context = ssl.create_default_context(cadata=self._access.ca_pem or None)
        except ssl.SSLError as error:
            raise ConfigurationError(f"the kubeconfig's certificate is broken: {error}") from None
        return http.client.HTTPSConnection(host, parts.port, timeout=self._timeout, context=context)


def _read(status: int, text: bytes) -> JsonObject:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if status == HTTPStatus.OK and isinstance(value, dict):
        return value
    said = value.get("error") if isinstance(value, dict) else None
    if said and status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
        raise RefusedError(str(said))
    raise ConfigurationError(str(said or f"the lab answered {status}; is this a lab at all?"))
