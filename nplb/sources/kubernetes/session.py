"""A session: one client of an API server, with the credentials as they were when it opened.

Sessions are short (minutes), and each reads the kubeconfig, tokens, certificates and CA afresh
and resolves the server's name again. So whatever is rotated needs no path of its own.

kubernetes_asyncio is used for its configuration, its older credential providers (OIDC, GCP) and
its requests. Its import takes about a second and 110 MB, and happens here, with the first
session, in a thread.
"""

import asyncio
import base64
import binascii
import contextlib
import importlib
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

import nplb
from nplb.model.errors import ConfigurationError
from nplb.sources.kubernetes.execplugin import run_exec_plugin
from nplb.sources.kubernetes.faults import ApiFault, Asked, fault_of_answer, fault_of_exception
from nplb.sources.kubernetes.kubeconfig import Access
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.resources import Scope, Target

Query = Mapping[str, str | int]

_METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}
_CONTENT = {
    "POST": {"Content-Type": "application/json"},
    "PUT": {"Content-Type": "application/json"},
    "PATCH": {"Content-Type": "application/merge-patch+json"},
}

_LIBRARY = "kubernetes_asyncio"
_LINES_AT_ONCE = 200
# What may go wrong below a request and is nobody's bug.
_STREAM_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


class Session:
    """One client. `origin` says where its server and credentials come from; `cluster` tells
    one server from another: resource versions of one mean nothing to the next."""

    def __init__(self, client: Any, access: Access, pacing: Pacing) -> None:
        self.cluster = access.cluster
        self._client = client
        self._pacing = pacing
        self.origin = access.origin
        self.server = access.server

    async def close(self) -> None:
        """Close the client and its connections."""
        await self._client.close()

    def _asked(self, verb: str, scope: Scope | Target) -> Asked:
        return Asked(
            verb=verb,
            scope=scope,
            server=self.server,
            origin=self.origin,
            connect_seconds=self._pacing.connect_seconds,
            silence_seconds=self._pacing.silence_seconds,
        )

    async def list_page(self, scope: Scope, query: Query) -> Mapping[str, Any]:
        """One page of a list: the answer's object, of which `items` is a list.

        Errors: ApiFault.
        """
        asked = self._asked("list", scope)
        async with self._request(asked, query=query) as response:
            body = await response.read()
            kind = response.content_type
        try:
            page = json.loads(body)
        except (ValueError, RecursionError):
            page = None
        if not isinstance(page, dict) or "metadata" not in page:
            raise _not_an_api_server(asked, kind)
        if page.get("items") is None:
            page["items"] = []
        return page

    @contextlib.asynccontextmanager
    async def watch(self, scope: Scope, query: Query) -> AsyncIterator["Watching"]:
        """A watch, which begins with the server's answer 200.

        Errors: ApiFault, also for whatever ends the body of the `async with` from below.
        """
        asked = self._asked("watch", scope)
        async with self._request(asked, query={**query, "watch": 1}) as response:
            if response.content_type != "application/json":
                raise _not_an_api_server(asked, response.content_type)
            yield Watching(asked, response)

    async def send(
        self, verb: str, target: Target, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Get, create, update or patch (by merge patch) one object. Returns it as it is now.

        Errors: ApiFault, with status 404 or 409 for an object that is not there or not as
        expected.
        """
        asked = self._asked(verb, target)
        try:
            async with (
                asyncio.timeout(self._pacing.write_seconds),
                self._request(asked, method=_METHODS[verb], body=body) as response,
            ):
                content = await response.read()
                kind = response.content_type
        except TimeoutError:
            seconds = f"{self._pacing.write_seconds:g} s"
            raise ApiFault(
                f"{self.server} has not answered within {seconds} to {asked}", renew=True
            ) from None
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _not_an_api_server(asked, kind)
        return answer

    @contextlib.asynccontextmanager
    async def _request(
        self,
        asked: Asked,
        *,
        method: str = "GET",
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(
            total=None,
            # Name resolution and every address of the name together.
            connect=3 * self._pacing.connect_seconds,
            sock_connect=self._pacing.connect_seconds,
            sock_read=self._pacing.silence_seconds,
        )
        try:
            response: aiohttp.ClientResponse = await self._client.call_api(
                asked.scope.path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", **_CONTENT.get(method, {})},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except (*_STREAM_ERRORS, ValueError) as error:
            # ValueError: aiohttp's for an address, or for a header that a damaged token breaks.
            raise fault_of_exception(asked, error, answered=False) from error
        try:
            if response.status not in (200, 201):
                content = await response.read()
                raise fault_of_answer(asked, response.status, response.headers, content)
            yield response
        except _STREAM_ERRORS as error:
            raise fault_of_exception(asked, error, answered=True) from error
        finally:
            # Not release: what is left of a watch's stream is of no use to a next request.
            response.close()


def _not_an_api_server(asked: Asked, content_type: str) -> ApiFault:
    return ApiFault(
        f"{asked.server} answers 200 OK, and not as an API server does ({content_type}): check "
        f"the server's address in {asked.origin}, and what stands before it",
        renew=True,
    )


class Watching:
    """An open watch."""

    def __init__(self, asked: Asked, response: aiohttp.ClientResponse) -> None:
        self.asked = asked
        self._response = response

    async def lines(self, max_bytes: int = 16 * 1024 * 1024) -> AsyncIterator[list[bytes]]:
        """The complete lines that arrive, as many at once as there are up to some hundred,
        until the server ends the stream.

        Errors: ApiFault for a line longer than `max_bytes`, or a stream that ends within one.
        """
        rest = b""
        async for chunk in self._response.content.iter_any():
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            if len(rest) > max_bytes:
                raise ApiFault(
                    f"{self.asked.server} sent a line of more than {max_bytes} bytes on "
                    f"{self.asked}: this is no API server's answer",
                    forget_version=True,
                )
            for start in range(0, len(lines), _LINES_AT_ONCE):
                yield lines[start : start + _LINES_AT_ONCE]
                # A burst of megabytes is not to hold up everything else on the loop.
                await asyncio.sleep(0)
        if rest.strip():
            raise ApiFault(
                f"{self.asked.server} ended the {self.asked} in the middle of a line; "
                "connecting again"
            )


async def open_session(access: Access, pacing: Pacing) -> Session:
    """A session with what `access` names, read now.

    Errors: ConfigurationError for credentials that can't be had, saying what to do.
    """
    library = await asyncio.to_thread(_import_library)
    user = await _usable_user(access, pacing)
    with tempfile.TemporaryDirectory(prefix="nplb-") as directory:
        # The TLS context has read the files when the client is made; they need not stay.
        cluster, user = _with_files(access, user, Path(directory))
        configuration = await _configure(library, access, cluster, user)
        try:
            client = library.client.ApiClient(configuration)
        except (OSError, ValueError) as error:
            what = getattr(error, "reason", None) or getattr(error, "strerror", None) or "damaged"
            raise ConfigurationError(
                f"{access.origin}: its certificates can't be used ({str(what).lower()}); check "
                "certificate-authority, client-certificate and client-key"
            ) from None
    client.user_agent = f"nplb/{nplb.__version__}"
    return Session(client, access, pacing)


def _import_library() -> Any:
    for part in ("client", "config.kube_config"):
        importlib.import_module(f"{_LIBRARY}.{part}")
    return importlib.import_module(_LIBRARY)


async def _usable_user(access: Access, pacing: Pacing) -> dict[str, Any]:
    """The user entry with every indirection followed: plugin run, token file read."""
    user = dict(access.user)
    if user.pop("exec", None) is not None:
        user.update(await run_exec_plugin(access, deadline_seconds=pacing.exec_seconds))
    if not user.get("token") and (path := user.get("tokenFile")):
        token = await asyncio.to_thread(_read_file, access, "tokenFile", str(path))
        # Editors and `echo` end a file with a newline, which no header may hold.
        user["token"] = token.decode("latin-1").strip()
        if not user["token"]:
            raise ConfigurationError(f"{access.origin}: tokenFile {path} is empty")
    user.pop("tokenFile", None)
    return user


def _with_files(
    access: Access, user: Mapping[str, Any], directory: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cluster and user with every certificate and key in a file that exists and can be read;
    what stands within the kubeconfig is written to `directory`, which only we can enter."""
    entries = {"cluster": dict(access.cluster), "user": dict(user)}
    for owner, key in (
        ("cluster", "certificate-authority"),
        ("user", "client-certificate"),
        ("user", "client-key"),
    ):
        entry = entries[owner]
        text, data, path = (entry.pop(f"{key}{end}", None) for end in ("-pem", "-data", ""))
        if text is None and data is None and path is None:
            continue
        if text is not None:
            content = str(text).encode()
        elif data is not None:
            content = _base64(access, f"{key}-data", data)
        else:
            content = _read_file(access, key, str(path))
        file = directory / key
        file.write_bytes(content)
        entry[key] = str(file)
    if "client-certificate" in entries["user"] and "client-key" not in entries["user"]:
        raise ConfigurationError(
            f"{access.origin}: there is a client-certificate and no client-key"
        )
    return entries["cluster"], entries["user"]


def _base64(access: Access, key: str, data: object) -> bytes:
    try:
        return base64.b64decode(str(data), validate=False)
    except binascii.Error:
        raise ConfigurationError(f"{access.origin}: {key} is not base64; copy it again") from None


def _read_file(access: Access, key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{access.origin}: {key} {path} can't be read: {str(error.strerror).lower()}"
        ) from None


async def _configure(
    library: Any, access: Access, cluster: dict[str, Any], user: dict[str, Any]
) -> Any:
    configuration = library.client.Configuration()
    loader = library.config.kube_config.KubeConfigLoader(
        config_dict={
            "current-context": "nplb",
            "contexts": [{"name": "nplb", "context": {"cluster": "nplb", "user": "nplb"}}],
            "clusters": [{"name": "nplb", "cluster": cluster}],
            # The library takes an empty user for a missing one, and then fails on it.
            "users": [{"name": "nplb", "user": user or {"nplb": "anonymous"}}],
        },
        config_base_path=None,
    )
    try:
        await loader.load_and_set(configuration)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        # The library's texts may quote the user entry.
        raise ConfigurationError(
            f"{access.origin}: its credentials can't be had ({type(error).__name__}); "
            "check the user entry, and log in again if it names an auth-provider"
        ) from None
    # Every watch holds a connection, and many namespaces make many watches.
    configuration.connection_pool_maxsize = 0
    # kubectl takes CA certificates without key identifiers, which Python since 3.13 does not.
    configuration.disable_strict_ssl_verification = True
    return configuration
