"""The compiled program as it lies beside this file, made ready for the kernel.

`fastpath.bpf.o` is an ELF object: a section of instructions, and a list of places where the
descriptor of a map belongs (Documentation/bpf/llvm_reloc.rst).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from nplb.model.errors import HostError

OBJECT = "fastpath.bpf.o"
SOURCE = "fastpath.bpf.c"
_SECTION = "classifier"
_SYMBOL_TABLE = 2
_LOAD_64 = 0x18
_PSEUDO_MAP = 1  # BPF_PSEUDO_MAP_FD


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions, and where in them (in bytes) which map's descriptor belongs."""

    instructions: bytes
    places: tuple[tuple[int, str], ...]

    def linked(self, maps: Mapping[str, int]) -> bytes:
        """The instructions with the maps' descriptors in them."""
        code = bytearray(self.instructions)
        for at, name in self.places:
            code[at + 1] = code[at + 1] & 0x0F | _PSEUDO_MAP << 4
            struct.pack_into("<i", code, at + 4, maps[name])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    data: bytes
    link: int
    info: int


@cache
def program() -> Program:
    """The program as it lies here."""
    return read_object((files(__package__) / OBJECT).read_bytes())


def stamp(data: bytes) -> str:
    """What an object says of its source: the SHA-256 that it was made from."""
    for section in _sections(data):
        if section.name == "nplb.source":
            return section.data.rstrip(b"\0").decode()
    return ""


def read_object(data: bytes) -> Program:
    """The section of instructions. Errors: HostError for what is no such object."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise HostError(f"{OBJECT} is no 64-bit little-endian ELF object: install nplb again")
    sections = _sections(data)
    symbols = next(s for s in sections if s.kind == _SYMBOL_TABLE)
    names = sections[symbols.link].data
    list_of_places = next(s for s in sections if s.name == f".rel{_SECTION}")
    code = sections[list_of_places.info].data
    places = []
    for at, info in struct.iter_unpack("<QQ", list_of_places.data):
        assert code[at] == _LOAD_64, "only maps are referred to"
        start = struct.unpack_from("<I", symbols.data, (info >> 32) * 24)[0]
        places.append((at, names[start : names.index(b"\0", start)].decode()))
    return Program(code, tuple(places))


def _sections(data: bytes) -> list[_Section]:
    offset = struct.unpack_from("<Q", data, 40)[0]
    size, count, names_at = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQII", data, offset + n * size) for n in range(count)]
    names = data[headers[names_at][4] : headers[names_at][4] + headers[names_at][5]]
    return [
        _Section(
            name=names[name : names.index(b"\0", name)].decode(),
            kind=kind,
            data=data[start : start + length],
            link=link,
            info=info,
        )
        for name, kind, _, _, start, length, link, info in headers
    ]
