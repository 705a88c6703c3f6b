"""HTTPS to an admin server: whose certificate is believed, and which one of ours is shown."""

import http.client
import ssl
from pathlib import Path

from nplb.model.errors import ConfigurationError, HostError


def open_https(
    host: str,
    port: int | None,
    *,
    timeout_seconds: float,
    ca_file: Path | None,
    client_cert: Path | None,
    pinned: Path | None,
) -> http.client.HTTPSConnection:
    """A connection, not yet made, which the caller closes. With `pinned`, a PEM file, the server
    must have the first certificate in it; then it may have any name and any CA.

    Errors: ConfigurationError for a file that can't be used; while connecting, HostError or
    OSError.
    """
    if pinned is not None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # _Pinned looks at it instead
    else:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{ca_file}: {_why(error, 'certificates')}") from None
    if client_cert is not None:
        try:
            context.load_cert_chain(client_cert, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            what = "certificate and key without a password"
            raise ConfigurationError(f"{client_cert}: {_why(error, what)}") from None
    if pinned is None:
        return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context)
    return _Pinned(host, port, timeout=timeout_seconds, context=context, pinned=pinned)


class _Pinned(http.client.HTTPSConnection):
    """Goes on only with the server that has one certificate."""

    def __init__(
        self,
        host: str,
        port: int | None,
        *,
        timeout: float,
        context: ssl.SSLContext,
        pinned: Path,
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._pinned = pinned

    def connect(self) -> None:
        """Connect, and look at the certificate before anything is said."""
        super().connect()
        assert isinstance(self.sock, ssl.SSLSocket)
        if self.sock.getpeercert(binary_form=True) != _first_certificate(self._pinned):
            self.close()
            raise HostError(
                f"who listens at {self.host}:{self.port} does not have the certificate of "
                f"{self._pinned} (admin.tls.cert): name its CA with --ca-file, if it is nplb"
            )


def _first_certificate(path: Path) -> bytes:
    end = "-----END CERTIFICATE-----"
    try:
        text = path.read_text()
        begin = text.index("-----BEGIN CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end, begin) + len(end)])
    except OSError as error:
        advice = "name the CA with --ca-file"
        raise ConfigurationError(f"{path} can't be read ({error.strerror}): {advice}") from None
    except ValueError:
        raise ConfigurationError(f"{path}: is not a PEM file of certificates") from None


def _why(error: Exception, what: str) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return f"is not a PEM file of {what}"
    return f"can't be read: {error.strerror}"
