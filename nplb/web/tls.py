"""The admin server's TLS: a certificate that is read again when it changes on disk.

Files are looked at for each new connection. A set of files that does not fit together (a
certificate renewed before its key, say) leaves the one before in force, and is said once.
"""

import logging
import ssl
from pathlib import Path

from nplb.model.errors import ConfigurationError, HostPermissionError, NplbError
from nplb.model.settings import AdminTls

log = logging.getLogger(__name__)

_Seen = tuple[tuple[int, int, int] | None, ...]


class TlsFiles:
    """The TLS context that the files give. `load` before the first `current`."""

    def __init__(self, settings: AdminTls) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._seen: _Seen = ()

    def load(self) -> None:
        """Read the files. Errors: as `make_context`."""
        self._seen = self._look()
        self._context = make_context(self._settings)

    def current(self) -> ssl.SSLContext:
        """The context for a new connection, of the files as they are now."""
        assert self._context is not None
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = make_context(self._settings)
            except NplbError as error:
                log.warning("%s; the admin server goes on with the files before", error)
            else:
                log.info("admin server: took the certificate of %s anew", self._settings.cert)
        return self._context

    def _look(self) -> _Seen:
        settings = self._settings
        return tuple(_stamp(path) for path in (settings.cert, settings.key, settings.client_ca))


def make_context(settings: AdminTls) -> ssl.SSLContext:
    """A server's context: TLS 1.2 or later, and clients' certificates where a CA is given.

    Errors: ConfigurationError for files that are not what they should be,
    HostPermissionError for one that may not be read.
    """
    for name, path in _named(settings):
        try:
            path.read_bytes()
        except PermissionError:
            raise HostPermissionError(
                f"admin.tls.{name}: {path} may not be read by this user, change its owner or mode"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"admin.tls.{name}: {path} can't be read: {error.strerror}"
            ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # The password is given so that an encrypted key is refused, not asked for on a terminal.
        context.load_cert_chain(settings.cert, settings.key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigurationError(_explain(settings, error)) from None
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"admin.tls.client_ca: {settings.client_ca} holds no PEM certificates ({error})"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _named(settings: AdminTls) -> list[tuple[str, Path]]:
    named = [("cert", settings.cert), ("key", settings.key)]
    if settings.client_ca is not None:
        named.append(("client_ca", settings.client_ca))
    return named


def _explain(settings: AdminTls, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return f"admin.tls.key: {settings.key} is not the key of {settings.cert}"
    if "BEGIN CERTIFICATE" not in _text(settings.cert):
        return f"admin.tls.cert: {settings.cert} holds no PEM certificate"
    key = _text(settings.key)
    if "PRIVATE KEY" not in key:
        return f"admin.tls.key: {settings.key} holds no PEM private key"
    if "ENCRYPTED" in key:
        return (
            f"admin.tls.key: {settings.key} is encrypted, and nobody is there to be asked for its "
            "password: write it without one, readable for nplb's user alone"
        )
    return f"admin.tls: {settings.cert} and {settings.key} can't be used: {reason}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
