"""TLS: a handshake to its end and a proper goodbye, around another conversation or alone.

A bare connect to a TLS server leaves an error in its log each time. This leaves what any client
leaves that changed its mind: a finished handshake and a close_notify.
"""

import functools
import ssl
from pathlib import Path

from nplb.health.probes.conversation import CONNECTED, Conversation, Result, unexpected

_CHUNK = 65536


class Tls:
    """`server_name` empty sends no SNI; with `verify` the certificate must then be valid for the
    node's address. `inner` None ends after the handshake."""

    def __init__(
        self, *, verify: bool, ca_file: str, server_name: str, ip: str, inner: Conversation | None
    ) -> None:
        self.result: Result | None = None
        self._inner = inner
        self._name = server_name or (ip if verify else None)
        self._verify = verify
        self._ca_file = ca_file
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._shaken = False

    def begin(self) -> bytes:
        """The ClientHello."""
        try:
            context = _context(self._verify, self._ca_file)
            self._tls = context.wrap_bio(self._in, self._out, server_hostname=self._name)
        except (OSError, ValueError) as error:
            self.result = unexpected(f"TLS can't be begun: {error}")
            return b""
        self._go_on()
        return self._out.read()

    def receive(self, data: bytes) -> bytes:
        """Take in what arrived."""
        self._in.write(data)
        self._go_on()
        return self._out.read()

    def end(self) -> None:
        """There is no more to come."""
        if self._shaken and self._inner is not None:
            self._inner.end()
            self.result = self._inner.result
        else:
            self.result = unexpected("closed the connection in the middle of the TLS handshake")

    def _go_on(self) -> None:
        assert self._tls is not None
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
                if self._inner is None:
                    self.result = CONNECTED
                else:
                    self._tls.write(self._inner.begin())
            while self._inner is not None and self._inner.result is None:
                data = self._tls.read(_CHUNK)
                if not data:
                    self._inner.end()
                    break
                answer = self._inner.receive(data)
                if answer:
                    self._tls.write(answer)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            assert self._inner is not None
            self._inner.end()
        except ssl.SSLCertVerificationError as error:
            self.result = unexpected(f"its certificate is refused: {error.verify_message}")
            return
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            self.result = unexpected(f"TLS failed: {str(reason).lower().replace('_', ' ')}")
            return
        if self._inner is not None:
            self.result = self._inner.result
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        assert self._tls is not None
        try:
            self._tls.unwrap()
        except (ssl.SSLError, OSError):
            return  # its own goodbye is still to come; ours stands in the buffer


def _context(verify: bool, ca_file: str) -> ssl.SSLContext:
    """A context for clients; a file of authorities is read again when it has changed."""
    changed = Path(ca_file).stat().st_mtime_ns if ca_file else 0
    return _made(verify, ca_file, changed)


@functools.lru_cache(maxsize=64)
def _made(verify: bool, ca_file: str, changed: int) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
