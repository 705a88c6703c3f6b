"""A file's list of address prefixes, as a value that is cheap to compare and to show."""

from dataclasses import dataclass, field

Prefix = tuple[int, int, int]
"""An address family (4 or 6), the first address as a number, and the prefix's length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixFile:
    """The prefixes of one file as it was when it was read. `digest` is of its content, which two
    of them are compared by. What has no repr is not shown anywhere either."""

    path: str
    digest: str
    count: int
    prefixes: tuple[Prefix, ...] = field(default=(), compare=False, repr=False)
