"""The range that NodePorts come from, its parser, and its two bands.

Mirrors `k8s.io/apimachinery/pkg/util/net/port_range.go` (the value of
`--service-node-port-range`) and `calculateRangeOffset` of
`pkg/registry/core/service/portallocator/allocator.go` (KEP-3668, the bands).
"""

import re
from dataclasses import dataclass

from nplb.model.errors import ConfigurationError

# Go's strconv.Atoi: an optional sign and ASCII digits. Python's int() takes more than that.
_ATOI = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
# What strings.TrimSpace takes off: unicode.IsSpace, which knows fewer characters than str.strip.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_MAX_INT = 2**63 - 1

_MIN_BAND = 16
_MAX_BAND = 128
_BAND_STEP = 32


class InvalidPortRange(ConfigurationError):
    """A port range that kube-apiserver would refuse too; the text is its own."""


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """`size` numbers from `base` on. Prints as `30000-32767`, and as nothing when empty."""

    base: int
    size: int

    def __str__(self) -> str:
        return f"{self.base}-{self.last}" if self.size else ""

    def __contains__(self, port: int) -> bool:
        return self.base <= port < self.base + self.size

    def __len__(self) -> int:
        return self.size

    @property
    def last(self) -> int:
        """The highest number in the range (below `base` when it is empty)."""
        return self.base + self.size - 1

    @property
    def numbers(self) -> range:
        """Every number of the range, in order."""
        return range(self.base, self.base + self.size)

    @property
    def static_size(self) -> int:
        """How many numbers at the low end are spared by automatic allocation as long as others
        are free: `min(max(16, size / 32), 128)`, and none in a range of 16 or fewer."""
        if self.size <= _MIN_BAND:
            return 0
        return min(max(_MIN_BAND, self.size // _BAND_STEP), _MAX_BAND)

    @property
    def static(self) -> "PortRange":
        """The low band, for numbers that people choose."""
        return PortRange(self.base, self.static_size)

    @property
    def dynamic(self) -> "PortRange":
        """The high band, from which automatic allocation draws first."""
        return PortRange(self.base + self.static_size, self.size - self.static_size)


DEFAULT_PORT_RANGE = PortRange(30000, 2768)
"""What kube-apiserver uses when nothing else is said."""


def parse_port_range(text: str) -> PortRange:
    """The range that `PortRange.Set` of Kubernetes reads: `N`, `A-B` or `A+offset`, or nothing
    for the empty range.

    Raises InvalidPortRange with the API server's own words.
    """
    value = text.strip(_SPACE)
    if not value:
        return PortRange(0, 0)
    hyphen, plus = value.find("-"), value.find("+")
    if hyphen >= 0 and plus >= 0:
        raise InvalidPortRange(f"unable to parse port range: {value}")
    if hyphen >= 0:
        low, high = _atoi(value[:hyphen]), _atoi(value[hyphen + 1 :])
    elif plus >= 0:
        low = _atoi(value[:plus])
        high = low + _atoi(value[plus + 1 :])
    else:
        low = high = _atoi(value)
    if low > 65535 or high > 65535:
        raise InvalidPortRange(f"the port range cannot be greater than 65535: {value}")
    if high < low:
        raise InvalidPortRange(f"end port cannot be less than start port: {value}")
    return PortRange(low, 1 + high - low)


def _atoi(text: str) -> int:
    """Go's strconv.Atoi, with its errors."""
    if not _ATOI.match(text):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        raise InvalidPortRange(f'strconv.Atoi: parsing "{quoted}": invalid syntax')
    number = int(text)
    if not -_MAX_INT - 1 <= number <= _MAX_INT:
        raise InvalidPortRange(f'strconv.Atoi: parsing "{text}": value out of range')
    return number
