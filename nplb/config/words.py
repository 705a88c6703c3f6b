"""How messages show a value, and what they guess that someone meant."""

import difflib
from collections.abc import Iterable
from typing import Final

_SHOWN: Final = 40


def shorten(text: str) -> str:
    """The text, cut to a length that a message bears."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def shown(text: str) -> str:
    """A value as a message shows it: quoted, on one line, not too long."""
    plain = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shorten(text)
    )
    return '"' + plain.replace('"', '\\"') + '"'


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known word that is closest to this one, if one is close enough to be meant:
    `likeness` is 1 for the same word."""
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.lower(), name)
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=likeness)
    return folded[close[0]] if close else None


def listed(words: Iterable[str]) -> str:
    """`a, b or c`."""
    names = list(words)
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " or " + names[-1]
