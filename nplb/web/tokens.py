"""Bearer tokens out of files, and how often a client may guess.

A file has one token a line, several while one replaces another. It is read again when it has
changed. Tokens are held as digests and compared in constant time; none is ever logged.
"""

import hashlib
import hmac
import logging
import stat
from collections import OrderedDict
from pathlib import Path

log = logging.getLogger(__name__)

MIN_CHARACTERS = 16
MAX_BYTES = 64 * 1024

GUESSES = 10
"""Wrong tokens that one client may send in GUESS_SECONDS."""
GUESS_SECONDS = 60.0
MAX_CLIENTS = 1024


class TokenFile:
    """The tokens of one file. None for a path: there are none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._digests: tuple[bytes, ...] = ()
        self._complaint = ""

    def accepts(self, token: str) -> bool:
        """Whether the file has this token now. A file that can't be read has none."""
        self._refresh()
        digest = _digest(token)
        # Every line is looked at, whichever one fits.
        fits = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(fits)

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            with self._path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            self._seen, self._digests = None, ()
            self._complain(f"can't be read: {error.strerror}")
            return
        self._seen = seen
        if len(text) > MAX_BYTES:
            self._digests = ()
            self._complain(f"is larger than {MAX_BYTES} bytes, which is no list of tokens")
            return
        lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
        tokens = [line for line in lines if line]
        good = [token for token in tokens if len(token) >= MIN_CHARACTERS and _is_sendable(token)]
        self._digests = tuple(_digest(token) for token in good)
        if len(good) < len(tokens):
            self._complain(
                f"has tokens that are not taken: each is {MIN_CHARACTERS} characters or longer, "
                "ASCII, without spaces; `openssl rand -hex 32` makes one"
            )
        elif not tokens:
            self._complain("is empty: write one token a line into it")
        elif found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            self._complain("can be read by every user of this host: chmod o= it")
        else:
            self._complaint = ""

    def _complain(self, what: str) -> None:
        """Log what is wrong with the file, once."""
        if what != self._complaint:
            self._complaint = what
            log.warning("token file %s %s", self._path, what)


class Guesses:
    """Counts wrong tokens by client, for so many clients at most. Times in seconds."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_seconds(self, client: str, now: float) -> float:
        """How long this client's tokens are not looked at; 0 if they are."""
        began, count = self._wrong.get(client, (now, 0))
        left = began + GUESS_SECONDS - now
        if left <= 0:
            self._wrong.pop(client, None)
            return 0.0
        return left if count >= GUESSES else 0.0

    def wrong(self, client: str, now: float) -> int:
        """Note a wrong token. Returns how many this client has sent."""
        began, count = self._wrong.pop(client, (now, 0))
        self._wrong[client] = (began, count + 1)
        while len(self._wrong) > MAX_CLIENTS:
            self._wrong.popitem(last=False)
        return count + 1


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _is_sendable(token: str) -> bool:
    return all("!" <= character <= "~" for character in token)
