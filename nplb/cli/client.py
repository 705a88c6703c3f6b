"""Asks the running nplb: finds its admin server, and reads JSON from it."""

import http.client
import ipaddress
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from nplb.cli.options import DEFAULT_CONFIG
from nplb.cli.table import counted, plain
from nplb.cli.trust import FILE_VARIABLE, trust_in, trusted
from nplb.model.errors import ConfigurationError, HostError, NplbError

DEFAULT_ADMIN: Final = "http://127.0.0.1:9090"
TIMEOUT_SECONDS: Final = 5.0
MAX_BYTES: Final = 512 * 1024 * 1024
_STATUS: Final = "/api/v1/status"


def find_admin(admin: str | None, config: Path | None, *, quiet: bool = False) -> str:
    """The admin server's URL: the one given, or else that of the configuration given, or of the
    usual one, or else the default.

    Of a configuration that is wrong what can be read of it counts, with a note on standard
    error (unless `quiet`). Raises ConfigurationError if the one given can't be read, or has no
    admin server.
    """
    if admin is not None:
        return check_url(admin)
    if config is not None:
        return _url_of(config, quiet)
    if DEFAULT_CONFIG.exists():
        try:
            return _url_of(DEFAULT_CONFIG, quiet)
        except NplbError:
            return DEFAULT_ADMIN
    return DEFAULT_ADMIN


def check_url(text: str) -> str:
    """A URL of an admin server, complete; `127.0.0.1:9090` will do. Raises UsageError."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username is not None or parts.query or parts.fragment:
        raise click.UsageError(f"--admin {text!r} is not a URL such as {DEFAULT_ADMIN}")
    return url.rstrip("/")


def _url_of(config: Path, quiet: bool) -> str:
    from nplb.config import InvalidConfiguration, load_settings
    from nplb.config.load import read_admin_listen

    scheme = "http"
    try:
        settings = load_settings(config).admin
        listen = settings.listen
        if settings.tls is not None:
            # The configuration is this host's own, so the certificate that it names is the one.
            scheme = "https"
            ctx = click.get_current_context(silent=True)
            if ctx is not None and trusted().ca_file is None:
                trust_in(ctx, pinned=settings.tls.cert)
    except InvalidConfiguration as error:
        # Whoever asks after a refused reload wants the answer of what runs on.
        listen = read_admin_listen(config)
        wrong = counted(len(error.errors), "error")
        note = f"note: {config} is wrong, `nplb check` says how ({wrong})"
        if not quiet:
            click.echo(f"{note}; asking {listen or 'nobody'} for what runs", err=True)
    if listen is None:
        raise ConfigurationError(f"{config}: admin.listen is off, so a running nplb can't be asked")
    if not listen.port:
        raise ConfigurationError(
            f"{config}: admin.listen has port 0, which the system chooses: name the URL with "
            "--admin (the log has it)"
        )
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.ip, listen.ip)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listen.port}"


def is_this_host(url: str) -> bool:
    """Whether a URL's host is this host's own loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def get_status(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """What runs, as `nplb.web.render` renders `model.status.Status`. Raises HostError."""
    document = get_json(url, _STATUS, timeout_seconds=timeout_seconds)
    if not isinstance(document, dict) or "plan" not in document:
        raise HostError(f"{url} answers, but not as nplb does: is it another program's port?")
    return document


def get_json(url: str, path: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
    """GET a path of the admin server. Raises HostError that says what to do."""
    return ask(url, "GET", path, timeout_seconds=timeout_seconds)


def get_text(url: str, path: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """GET a page of the admin server as text, whatever its status. Raises HostError."""
    _, answer = _exchange(url, "GET", path, accept="text/plain", timeout_seconds=timeout_seconds)
    return answer.decode("utf-8", "replace")


def ask(
    url: str,
    method: str,
    path: str,
    *,
    body: Any = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Any:
    """One request to the admin server, with `body` as JSON and a bearer token if there is one.
    Returns the answer's JSON, None if it has none. Raises HostError that says what to do."""
    response, answer = _exchange(url, method, path, body=body, timeout_seconds=timeout_seconds)
    document = _decode(answer)
    if response.status == 204:
        return None
    if response.status not in (200, 201):
        said = _reason(document, response)
        if response.status == 401:
            said += f" (--token-file PATH or ${FILE_VARIABLE})"
        raise HostError(f"{url}{path} answers {response.status}: {said}")
    if document is None:
        raise HostError(f"{url}{path} does not answer with JSON: is it another program's port?")
    return document


def _exchange(
    url: str,
    method: str,
    path: str,
    *,
    body: Any = None,
    accept: str = "application/json",
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request, and all of its answer."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        from nplb.cli.secure import open_https

        trust = trusted()
        connection = open_https(
            parts.hostname or "",
            parts.port,
            timeout_seconds=timeout_seconds,
            ca_file=trust.ca_file,
            client_cert=trust.client_cert,
            pinned=trust.pinned,
        )
    else:
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=timeout_seconds
        )
    try:
        headers = {"Accept": accept}
        if token := _token():
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode() if body is not None else None
        connection.request(method, parts.path + path, body=data, headers=headers)
        with connection.getresponse() as response:
            answer = response.read(MAX_BYTES + 1)
            missing = response.length
    except ConnectionRefusedError:
        advice = "is nplb running there? `nplb run` starts it, --admin URL names another place"
        raise HostError(f"nothing listens at {url}: {advice}") from None
    except TimeoutError:
        raise HostError(f"{url} does not answer within {timeout_seconds:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        said = plain(str(error).strip()) or type(error).__name__
        if parts.scheme == "http" and isinstance(error, ConnectionResetError):
            said += "; if it speaks HTTPS (admin.tls), ask it by https:// and --ca-file"
        raise HostError(f"{url} can't be asked: {said}") from None
    finally:
        connection.close()
    if missing:
        raise HostError(f"{url} broke its answer off, is nplb ending? Try again")
    if len(answer) > MAX_BYTES:
        raise HostError(f"{url}{path} answers with more than {MAX_BYTES} bytes")
    return response, answer


def _token() -> str:
    """The token of --token-file or $NPLB_TOKEN_FILE; empty without one."""
    path = trusted().token_file
    return read_token(path) if path is not None else ""


def read_token(path: Path) -> str:
    """The first token of a file. Raises ConfigurationError if it can't be read."""
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{path}: can't read the token: {why}") from None
    return lines[0] if lines else ""


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _reason(document: Any, response: http.client.HTTPResponse) -> str:
    """What the server says is wrong, or else the name of its status."""
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or response.reason)
