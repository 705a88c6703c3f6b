"""The system call bpf(2), as much of it as the fast path needs.

Attributes are those of `union bpf_attr` in include/uapi/linux/bpf.h. Keys and values are bytes.
A map of one value per processor gives and takes the values of all processors in a row.
"""

import contextlib
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nplb.model.errors import HostError, HostPermissionError

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE = 0, 1, 2, 3
_PROG_LOAD, _PIN, _GET = 5, 6, 7
_TEST_RUN, _LOOKUP_BATCH, _UPDATE_BATCH, _DELETE_BATCH = 10, 24, 26, 27
_INFO, _QUERY, _LINK_CREATE, _LINK_UPDATE, _LINK_DETACH = 15, 16, 28, 29, 34
_SCHED_CLS = 3  # BPF_PROG_TYPE_SCHED_CLS
_TCX_INGRESS = 46
_MOST_LINKS = 64  # BPF_MPROG_MAX: more than that are never at one interface
_BATCH = 4096
# A signal, as of a child that has ended, has the verifier begin again; libbpf tries as often.
_LOAD_ATTEMPTS = 10
_LOG_BYTES = 1 << 20
# in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
_BATCH_ATTRIBUTES = struct.Struct("=QQQQIIQQ")
# target_ifindex, attach_type, query_flags, attach_flags, prog_ids, count, prog_attach_flags,
# link_ids, link_attach_flags, revision
_QUERY_ATTRIBUTES = struct.Struct("=IIIIQIxxxxQQQQ")
# prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat
_RUN_ATTRIBUTES = struct.Struct("=IiIIQQI")

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY = 1, 2, 5, 6
_PER_CPU = frozenset({PERCPU_HASH, PERCPU_ARRAY})
NO_PREALLOC = 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """A map's definition; sizes in bytes."""

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int = 0


class BpfMap:
    """A map in the kernel. Whoever makes it closes it; the kernel keeps it as long as a
    program uses it or a pin names it."""

    def __init__(self, spec: MapSpec, descriptor: int) -> None:
        self.spec = spec
        self.descriptor = descriptor
        self._value_bytes = spec.value_bytes
        if spec.kind in _PER_CPU:
            self._value_bytes = (spec.value_bytes + 7 & ~7) * possible_cpus()

    @classmethod
    def create(cls, spec: MapSpec) -> Self:
        """A new, empty map. Errors: as for every call here, HostError."""
        packed = struct.pack(
            "=IIIIIII16s",
            spec.kind,
            spec.key_bytes,
            spec.value_bytes,
            spec.entries,
            spec.flags,
            0,
            0,
            spec.name.encode()[:15],
        )
        attributes = ctypes.create_string_buffer(packed, 128)
        return cls(spec, _call(_MAP_CREATE, attributes, f"create the map {spec.name}"))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None if it is not there."""
        value = ctypes.create_string_buffer(self._value_bytes)
        try:
            self._element(_LOOKUP, key, value)
        except FileNotFoundError:
            return None
        return value.raw

    def put(self, key: bytes, value: bytes) -> None:
        """Write one entry."""
        self._element(_UPDATE, key, ctypes.create_string_buffer(value, self._value_bytes))

    def delete(self, key: bytes) -> bool:
        """Remove one entry. Returns whether it was there."""
        try:
            self._element(_DELETE, key, None)
        except FileNotFoundError:
            return False
        return True

    def update(self, entries: Mapping[bytes, bytes]) -> None:
        """Write many entries."""
        items = list(entries.items())
        for start in range(0, len(items), _BATCH):
            part = items[start : start + _BATCH]
            keys = ctypes.create_string_buffer(b"".join(key for key, _ in part))
            values = ctypes.create_string_buffer(b"".join(value for _, value in part))
            self._batch(_UPDATE_BATCH, keys, values, len(part))

    def remove(self, keys: Iterable[bytes]) -> None:
        """Remove many entries. One that is not there is no error."""
        wanted = list(keys)
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            try:
                self._batch(
                    _DELETE_BATCH, ctypes.create_string_buffer(b"".join(part)), None, len(part)
                )
            except FileNotFoundError:  # the kernel stops at the first that is missing
                for key in part:
                    self.delete(key)

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash. One that is there all the while comes once; one that comes or
        goes meanwhile may."""
        key_bytes, value_bytes = self.spec.key_bytes, self._value_bytes
        count = _BATCH
        here: ctypes.c_uint32 | None = None
        while True:
            keys = ctypes.create_string_buffer(count * key_bytes)
            values = ctypes.create_string_buffer(count * value_bytes)
            after = ctypes.c_uint32()
            try:
                found, ended = self._batch(
                    _LOOKUP_BATCH, keys, values, count, here=here, after=after
                )
            except _NoSpaceError:
                count *= 2  # one bucket holds more
                continue
            raw_keys, raw_values = keys.raw, values.raw
            for at in range(found):
                yield (
                    raw_keys[at * key_bytes : (at + 1) * key_bytes],
                    raw_values[at * value_bytes : (at + 1) * value_bytes],
                )
            if ended:
                return
            here = after

    def _batch(
        self,
        command: int,
        keys: ctypes.Array[ctypes.c_char],
        values: ctypes.Array[ctypes.c_char] | None,
        count: int,
        *,
        here: ctypes.c_uint32 | None = None,
        after: ctypes.c_uint32 | None = None,
    ) -> tuple[int, bool]:
        """How many entries were taken, and whether a reading has come to the end. `here` and
        `after` are where a reading goes on."""
        attributes = ctypes.create_string_buffer(
            _BATCH_ATTRIBUTES.pack(
                ctypes.addressof(here) if here is not None else 0,
                ctypes.addressof(after) if after is not None else 0,
                ctypes.addressof(keys),
                ctypes.addressof(values) if values is not None else 0,
                count,
                self.descriptor,
                0,
                0,
            ),
            _BATCH_ATTRIBUTES.size,
        )
        ended = False
        try:
            _call(command, attributes, f"use the map {self.spec.name}")
        except FileNotFoundError:
            if command != _LOOKUP_BATCH:
                raise
            ended = True
        return _BATCH_ATTRIBUTES.unpack(attributes)[4], ended

    def _element(self, command: int, key: bytes, value: ctypes.Array[ctypes.c_char] | None) -> None:
        held = ctypes.create_string_buffer(key, self.spec.key_bytes)
        attributes = struct.pack(
            "=IIQQQ",
            self.descriptor,
            0,
            ctypes.addressof(held),
            ctypes.addressof(value) if value is not None else 0,
            0,
        )
        _call(command, ctypes.create_string_buffer(attributes), f"use the map {self.spec.name}")


class _NoSpaceError(HostError):
    """The buffers are too small for one bucket."""


class _InterruptedError(HostError):
    """A signal has ended the call too soon."""


class _NoInterfaceError(HostError):
    """There is no such interface here."""


class UnknownToKernelError(HostError):
    """A call that this kernel does not have, or does not take in this way."""


def load(name: str, instructions: bytes, licence: str) -> int:
    """Give the kernel a program for tc. Returns its descriptor.

    Errors: HostError with what the verifier says.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(licence.encode())
    what = f"load the program {name}"

    def attributes(log: ctypes.Array[ctypes.c_char] | None) -> ctypes.Array[ctypes.c_char]:
        packed = struct.pack(
            "=IIQQIIQII16s",
            _SCHED_CLS,
            len(instructions) // 8,
            ctypes.addressof(code),
            ctypes.addressof(terms),
            1 if log is not None else 0,
            _LOG_BYTES if log is not None else 0,
            ctypes.addressof(log) if log is not None else 0,
            0,
            0,
            name.encode()[:15],
        )
        return ctypes.create_string_buffer(packed, 128)

    try:
        for _ in range(_LOAD_ATTEMPTS):
            with contextlib.suppress(_InterruptedError):
                return _call(_PROG_LOAD, attributes(None), what)
        raise HostError(f"can't {what}: signals have interrupted it {_LOAD_ATTEMPTS} times")
    except HostError as error:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        with contextlib.suppress(HostError):
            return _call(_PROG_LOAD, attributes(log), what)
        said = log.value.decode(errors="replace").strip().splitlines()
        if not said:
            raise
        raise HostError(f"{error}: {' / '.join(said[-4:])}") from error


def run(program: int, packet: bytes) -> tuple[int, bytes]:
    """Let a program see a packet that has come in by the loopback interface, without sending
    anything. Returns its verdict and the packet as it left it."""
    given = ctypes.create_string_buffer(packet, len(packet))
    taken = ctypes.create_string_buffer(len(packet) + 256)
    attributes = ctypes.create_string_buffer(
        _RUN_ATTRIBUTES.pack(
            program, 0, len(packet), len(taken), ctypes.addressof(given), ctypes.addressof(taken), 1
        ),
        80,
    )
    _call(_TEST_RUN, attributes, "run a program")
    _, verdict, _, size, _, _, _ = _RUN_ATTRIBUTES.unpack_from(attributes)
    return verdict, taken.raw[:size]


def link(program: int, interface: int) -> int:
    """Let a program see what comes in by an interface, before the filters of `tc` do (tcx). Returns
    the link's descriptor: it stays as long as that is open or a pin names it.

    Errors: UnknownToKernelError before Linux 6.6.
    """
    attributes = struct.pack("=IIII", program, interface, _TCX_INGRESS, 0)
    return _call(_LINK_CREATE, ctypes.create_string_buffer(attributes, 64), "link a program")


def relink(link: int, program: int) -> None:
    """Put another program in the place of a link's, without a gap."""
    attributes = struct.pack("=IIII", link, program, 0, 0)
    _call(_LINK_UPDATE, ctypes.create_string_buffer(attributes, 64), "link another program")


def unlink(link: int) -> None:
    """Take a link off its interface, if it is at one."""
    _call(_LINK_DETACH, ctypes.create_string_buffer(struct.pack("=I", link)), "end a link")


def link_number(link: int) -> int:
    """What the kernel calls a link by."""
    found = ctypes.create_string_buffer(64)
    attributes = struct.pack("=IIQ", link, len(found), ctypes.addressof(found))
    _call(_INFO, ctypes.create_string_buffer(attributes), "look at a link")
    return int(struct.unpack_from("=I", found, 4)[0])  # struct bpf_link_info, id


def links_at(interface: int) -> frozenset[int]:
    """The numbers of all links at an interface of this network namespace; none if it is gone. A
    link does not tell: where its interface is in another namespace, it names that one's number.
    """
    programs, links = (ctypes.c_uint32 * _MOST_LINKS)(), (ctypes.c_uint32 * _MOST_LINKS)()
    attributes = ctypes.create_string_buffer(
        _QUERY_ATTRIBUTES.pack(
            interface,
            _TCX_INGRESS,
            0,
            0,
            ctypes.addressof(programs),
            _MOST_LINKS,
            0,
            ctypes.addressof(links),
            0,
            0,
        ),
        _QUERY_ATTRIBUTES.size,
    )
    try:
        _call(_QUERY, attributes, "see what is at an interface")
    except _NoInterfaceError:
        return frozenset()
    return frozenset(links[: _QUERY_ATTRIBUTES.unpack(attributes)[5]])


def pin(descriptor: int, path: Path) -> None:
    """Let a name in a BPF file system keep a map, a program or a link."""
    _object(_PIN, path, descriptor, f"make {path}")


def pinned(path: Path) -> int:
    """The descriptor of what a name keeps. Errors: FileNotFoundError."""
    return _object(_GET, path, 0, f"open {path}")


def possible_cpus() -> int:
    """How many values an entry of a map of one value per processor has."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.rsplit("-", 1)[-1].rsplit(",", 1)[-1]) + 1


def _object(command: int, path: Path, descriptor: int, what: str) -> int:
    name = ctypes.create_string_buffer(os.fsencode(path))
    attributes = struct.pack("=QII", ctypes.addressof(name), descriptor, 0)
    return _call(command, ctypes.create_string_buffer(attributes), what)


def _call(command: int, attributes: ctypes.Array[ctypes.c_char], what: str) -> int:
    """One bpf(2). Errors: FileNotFoundError for what is not there, HostPermissionError without a
    right, HostError for every other refusal."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise HostError(f"the fast path is not known to work on {platform.machine()}")
    found: int = _libc.syscall(number, command, attributes, len(attributes))
    if found >= 0:
        return found
    code = ctypes.get_errno()
    text = f"can't {what}: {os.strerror(code)}"
    if code == errno.ENOENT:
        raise FileNotFoundError(code, text)
    if code == errno.ENOSPC:
        raise _NoSpaceError(text)
    if code == errno.EAGAIN:
        raise _InterruptedError(text)
    if code == errno.ENODEV:
        raise _NoInterfaceError(text)
    if code == errno.EINVAL:
        raise UnknownToKernelError(text)
    if code in (errno.EPERM, errno.EACCES):
        raise HostPermissionError(
            f"{text}. The fast path needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: run nplb as "
            "root, give its unit these capabilities, or set kernel.fast_path: false"
        )
    raise HostError(text)
