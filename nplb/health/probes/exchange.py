"""Send and expect: bytes to send, and bytes that the answer must hold."""

from nplb.health.probes.conversation import CONNECTED, MAX_BYTES, Result, unexpected

_SHOWN = 40


class Exchange:
    """Sends `send`, then waits for `expect` anywhere in the answer. An empty `expect` takes any
    answer; an empty `send` waits for a greeting."""

    def __init__(self, send: bytes, expect: bytes) -> None:
        self.result: Result | None = None
        self._send = send
        self._expect = expect
        self._heard = b""

    def begin(self) -> bytes:
        """What to send."""
        return self._send

    def receive(self, data: bytes) -> bytes:
        """Take in a part of the answer."""
        self._heard += data
        if self._expect in self._heard:
            self.result = CONNECTED
        elif len(self._heard) > MAX_BYTES:
            self.end()
        return b""

    def end(self) -> None:
        """There is no more to come."""
        heard = _shown(self._heard) if self._heard else "nothing"
        self.result = unexpected(f"answered {heard}, not {_shown(self._expect)}")


def _shown(data: bytes) -> str:
    text = data[:_SHOWN].decode("latin-1")
    return ascii(text) + ("..." if len(data) > _SHOWN else "")
