"""`FastPath`: keeps the program at the interfaces and its maps as the plans say.

Maps and programs are pinned in the BPF file system under the network namespace's number, so that
they outlive this process: a stopped, killed or upgraded nplb changes nothing for connections, and
the next one goes on with what it finds. Every method blocks, and must run in a thread of the
network namespace that is to be served.
"""

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nplb.dataplane.kernel.draws import JHASH_SEED
from nplb.dataplane.kernel.fastpath import bpf, devices, layout
from nplb.dataplane.kernel.fastpath.connections import Connections
from nplb.dataplane.kernel.fastpath.program import program
from nplb.dataplane.kernel.fastpath.tables import Tables, Tabulator
from nplb.dataplane.kernel.host import PINS, examine, missing_for_fast_path
from nplb.dataplane.kernel.render import Rendered
from nplb.dataplane.kernel.serving import canonical
from nplb.model.errors import HostError, HostPermissionError
from nplb.model.reasons import FastPathEvent

log = logging.getLogger(__name__)

LICENCE = "GPL"  # what bpf_fib_lookup asks for; the program's file says under which it may be used
# Fewer source ports than this to one node's port would be a trap.
MIN_PORTS = 2048
FIRST_PORT = 1024
# How often somebody else's changes are looked for.
REPAIR_SECONDS = 10.0
# At how many interfaces at once: each costs a command, and an edge may have hundreds.
REPAIR_DEVICES = 50


@dataclass(frozen=True, slots=True)
class Ports:
    """Which source ports connections to nodes get: `first` and `count` are the fast path's,
    `table` is the range that is left to the table's rules. They never meet."""

    first: int
    count: int
    table: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the maps said at one moment: `live` connections and `counts` by a node's address and
    port; `connections` are all that take up room, by family. `final` says that the maps are gone
    with it: what comes after counts from zero."""

    connections: Mapping[int, int] = field(default_factory=lambda: dict.fromkeys(layout.FLOWS, 0))
    live: Mapping[tuple[str, int], int] = field(default_factory=dict)
    counts: Mapping[tuple[str, int], layout.Counts] = field(default_factory=dict)
    events: Mapping[FastPathEvent, int] = field(default_factory=dict)
    final: bool = False


def split_ports(local: tuple[int, int]) -> Ports:
    """Ports that the edge's own connections never get. `local` is `net.ipv4.ip_local_port_range`.

    Errors: HostError if it leaves too few.
    """
    low, high = local
    below, above = low - FIRST_PORT, 65535 - high
    if max(below, above) < MIN_PORTS:
        raise HostError(
            f"net.ipv4.ip_local_port_range is {low} {high}, which leaves the fast path fewer than "
            f"{MIN_PORTS} source ports: sysctl -w net.ipv4.ip_local_port_range='32768 60999'"
        )
    if below >= above:
        return Ports(FIRST_PORT, below, (low, 65535))
    return Ports(high + 1, above, (FIRST_PORT, high))


def table_ports() -> tuple[int, int]:
    """The source ports that are left to the table's rules. Errors: as for `split_ports`."""
    return _ports().table


def _ports() -> Ports:
    words = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return split_ports((int(words[0]), int(words[1])))


class FastPath:
    """The program and its maps. `apply` loads them when the first frontend comes, and `read` takes
    them away again when the last connection has gone that no frontend is left for."""

    def __init__(self, pins: Path = PINS) -> None:
        self._pins = pins
        self._lock = threading.Lock()
        self._maps: dict[str, bpf.BpfMap] = {}
        self._program = Path()
        self._devices: dict[devices.Device, str] = {}  # and what is wrong with it, if anything
        self._repaired = 0.0
        self._not_repaired = ""  # what was told last of why not
        self._asked = 0  # how many interfaces since the first one
        self._connections = Connections()
        self._tabulator = Tabulator()
        self._chosen: list[Rendered] = []
        self._sources: Mapping[str, str] = {}
        self._frontends: dict[bytes, bytes] = {}
        self._layouts: dict[int, Collection[bytes]] = {}

    @property
    def on(self) -> bool:
        """Whether this process keeps a program here."""
        return bool(self._maps)

    def apply(self, rendered: Iterable[Rendered]) -> None:
        """Serve these frontends, and no others, to new connections.

        Errors: HostError for what is missing or refused; the table serves whoever is not served
        here.
        """
        self._chosen = list(rendered)
        with self._lock:
            self._let_go_of_deleted()
            if not self.on and not self._chosen and not left_behind(self._pins):
                return
            try:
                with _pins_at(self._pins):
                    self._serve()
            except HostError:
                self._stand_aside()
                raise

    def read(self) -> Reading:
        """Counters and open connections. Connections that have had their time are forgotten, and
        what somebody else has taken away is put back now and then; what can't be is told once.
        Errors: HostError if the maps can't be read."""
        if self.on and time.monotonic() - self._repaired >= REPAIR_SECONDS:
            self._look_after()
        with self._lock:
            if not self.on:
                return Reading()
            found = self._connections
            found.look(self._maps)
            final = not self._frontends and not any(found.entries.values())
            if final:  # all has closed: a second look finds what has while the first one was taken
                found.look(self._maps)
            reading = Reading(
                live={layout.endpoint_of(node): count for node, count in found.live.items()},
                counts={layout.endpoint_of(node): each for node, each in found.counts.items()},
                connections={family: count // 2 for family, count in found.entries.items()},
                events=layout.events(self._maps["events"].get),
                final=final,
            )
            if final:
                self._close()
                self._connections = Connections()
                remove(self._pins)
            return reading

    def end(self, sources: Collection[tuple[str, int]]) -> int:
        """Forget the connections to these nodes' ports: the next packet of either side is answered
        with a reset. Returns how many."""
        wanted = {layout.endpoint(ip, port) for ip, port in sources}
        with self._lock:
            if not self.on or not wanted:
                return 0
            return self._connections.end(self._maps, wanted)

    def close(self) -> None:
        """Give the descriptors back. What is loaded goes on."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        for each in self._maps.values():
            each.close()
        self._maps = {}

    def _serve(self) -> None:
        ports = _ports()
        if not self.on:
            self._load()
        self._set_ports(ports)
        self._attach()
        self._find_sources()
        self._write(self._tabulator.tables(self._chosen, self._sources))

    def _stand_aside(self) -> None:
        """Leave new connections to the table: what is written may name nodes that have left."""
        if self.on:
            with contextlib.suppress(HostError):
                self._maps["frontends"].remove(self._frontends)
                self._frontends = {}

    def _let_go_of_deleted(self) -> None:
        """Begin anew where somebody else (`nplb rules --delete`) has removed the pins."""
        if self.on and not self._program.exists():
            log.warning("somebody else has removed the fast path")
            self._close()
            self._connections = Connections()

    def _look_after(self) -> None:
        """Repair what somebody else has done. Counters are read without that, too."""
        self._repaired = time.monotonic()
        wrong = ""
        try:
            taken_off = self._taken_off()
            with self._lock, _pins_at(self._pins):
                if self.on:
                    self._repair(taken_off)
        except HostError as error:
            wrong = str(error)
        if wrong and wrong != self._not_repaired:
            log.warning("the fast path can't be looked after: %s", wrong)
        self._not_repaired = wrong

    def _repair(self, taken_off: Iterable[devices.Device]) -> None:
        """Put back what somebody else has taken away or changed, and follow the edge's routes."""
        self._let_go_of_deleted()
        if not self.on:
            self._serve()
            return
        for device in taken_off:
            log.warning("the fast path was taken off %s: put back", device.name)
            self._devices[device] = "taken away"
        self._attach()
        before = self._sources
        self._find_sources()
        if self._sources is not before:
            self._write(self._tabulator.tables(self._chosen, self._sources))
        fronts = self._maps["frontends"]
        found = {key: layout.with_turn(value) for key, value in fronts.entries()}
        if found != self._frontends:
            log.warning("somebody else has changed the fast path's frontends: repaired")
            fronts.remove(found.keys() - self._frontends.keys())
            fronts.update(
                {k: layout.with_turn(v, os.urandom(len(v))) for k, v in self._frontends.items()}
            )

    # -- loading ------------------------------------------------------------

    def _load(self) -> None:
        """Open the maps that an earlier process has left, or make them, and load the programs."""
        folder = home(self._pins)
        _make(folder)
        maps: dict[str, bpf.BpfMap] = {}
        try:
            if not any(devices.attached(each, folder) for each in devices.devices()):
                # What nobody's packets come by holds no connections of today: it may be of a
                # namespace that is gone, whose number this one was given.
                _forget_others(folder, ())
            for name, spec in layout.MAPS.items():
                maps[name] = _open(spec, folder / _pin_name(name))
            self._program = _load(maps, folder / "program")
            pins = {self._program.name, *(_pin_name(name) for name in maps)}
            _forget_others(folder, pins | {each.name for each in devices.links(folder)})
        except BaseException:
            for each in maps.values():
                each.close()
            raise
        self._maps = maps
        self._devices = {}
        self._frontends = {k: layout.with_turn(v) for k, v in maps["frontends"].entries()}
        self._layouts = {}
        for key, _ in maps["seats"].entries():
            mine = self._layouts.setdefault(layout.layout_of(key), [])
            assert isinstance(mine, list)
            mine.append(key)

    def _set_ports(self, ports: Ports) -> None:
        value = layout.settings(first_port=ports.first, ports=ports.count, seed=JHASH_SEED)
        self._maps["settings"].put(layout.NUMBER.pack(0), value)

    def _attach(self) -> None:
        """At every interface, those that have come since included. What comes by one that can't
        have the program goes by the table, and so does who would be sent there."""
        before, self._devices = self._devices, {}
        for device in devices.devices():
            wrong = before.get(device, "new")
            if wrong:
                try:
                    devices.attach(device, self._program)
                    wrong = ""
                except HostError as error:
                    if str(error) != wrong:
                        log.warning("the fast path can't be at %s: %s", device.name, error)
                    wrong = str(error)
            self._devices[device] = wrong
        devices.leave_others(self._devices, self._program.parent)
        served = {layout.NUMBER.pack(d.index) for d, wrong in self._devices.items() if not wrong}
        interfaces = self._maps["interfaces"]
        interfaces.remove({key for key, _ in interfaces.entries()} - served)
        interfaces.update(dict.fromkeys(served, layout.NUMBER.pack(1)))

    def _taken_off(self) -> tuple[devices.Device, ...]:
        """Where somebody else has taken the program away, among the next few interfaces. Holds no
        lock: a plan must not wait for it."""
        ours = [device for device, wrong in tuple(self._devices.items()) if not wrong]
        asked = ours[self._asked : self._asked + REPAIR_DEVICES]
        self._asked += len(asked)
        if self._asked >= len(ours):
            self._asked = 0
        folder = self._program.parent
        return tuple(device for device in asked if not devices.attached(device, folder))

    # -- writing ------------------------------------------------------------

    def _find_sources(self) -> None:
        """The edge's own address toward each node, as its routes are now."""
        # Most frontends share their nodes, as the very same object.
        nodes = {id(one.nodes): one.nodes for each in self._chosen for one in each.layouts}
        ips = frozenset().union(*nodes.values())
        found = {ip: source for ip in sorted(ips) if (source := _source_toward(ip))}
        if found != self._sources:
            self._sources = found

    def _write(self, want: Tables) -> None:
        """New seats first, then who draws from them, then old seats go: no packet is drawn a seat
        that is not there."""
        seats, fronts = self._maps["seats"], self._maps["frontends"]
        for name, entries in want.layouts.items():
            if len(self._layouts.get(name, ())) != len(entries):
                seats.update(entries)
                self._layouts[name] = entries.keys()
        changed = {k: v for k, v in want.frontends.items() if self._frontends.get(k) != v}
        gone = self._frontends.keys() - want.frontends.keys()
        # A turn goes on, and begins anywhere: source ports follow from it, and nodes may remember
        # connections from those that were given last.
        fronts.update(
            {
                key: layout.with_turn(value, fronts.get(key) or os.urandom(len(value)))
                for key, value in changed.items()
            }
        )
        fronts.remove(gone)
        self._frontends = dict(want.frontends)
        for name in self._layouts.keys() - want.layouts.keys():
            seats.remove(self._layouts.pop(name))


def _source_toward(ip: str) -> str:
    """The edge's own address toward another one; empty if there is no route."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # A datagram socket that is connected sends nothing; the kernel looks up the route. One that has
    # been connected before would keep its address.
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect((ip, 9))
        except OSError:
            return ""
        return canonical(sock.getsockname()[0])


def home(pins: Path = PINS) -> Path:
    """Where this network namespace's maps and programs are pinned."""
    return pins / str(Path("/proc/thread-self/ns/net").stat().st_ino)


def left_behind(pins: Path = PINS) -> bool:
    """Whether an earlier process has left a fast path here."""
    try:
        return home(pins).is_dir()
    except PermissionError:
        return False  # bpffs is often root's alone: who may not look has left nothing there


def remove(pins: Path = PINS) -> bool:
    """Take the program off every interface and remove its maps; connections that went through it
    end. Returns whether there was anything."""
    if not left_behind(pins):
        return False
    folder = home(pins)
    for device in devices.everything():
        devices.detach(device, folder)
    # Another process may remove it as well, or a running nplb begin anew meanwhile.
    with contextlib.suppress(FileNotFoundError):
        for each in folder.iterdir():
            each.unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    return True


@contextlib.contextmanager
def _pins_at(pins: Path) -> Iterator[None]:
    """What the file system refuses is HostError."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"the fast path can't keep its maps: {error}; let nplb's user own {home(pins)}, or "
            "delete it"
        ) from error


def _make(folder: Path) -> None:
    lacks = missing_for_fast_path(examine())
    if lacks:
        raise HostPermissionError(f"kernel.fast_path lacks {'; '.join(lacks)}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _pin_name(name: str) -> str:
    return f"{name}-{layout.SHAPE}"


def _forget_others(folder: Path, ours: Collection[str]) -> None:
    """Let go of maps that are not in use any more, as those of another version."""
    for each in folder.iterdir():
        if each.name not in ours:
            each.unlink()


def _open(spec: bpf.MapSpec, path: Path) -> bpf.BpfMap:
    try:
        return bpf.BpfMap(spec, bpf.pinned(path))
    except FileNotFoundError:
        made = bpf.BpfMap.create(spec)
        try:
            bpf.pin(made.descriptor, path)
        except BaseException:
            made.close()
            raise
        return made


def _load(maps: Mapping[str, bpf.BpfMap], path: Path) -> Path:
    """Pin the program of this version, in the place of an earlier one."""
    code = program().linked({name: each.descriptor for name, each in maps.items()})
    descriptor = bpf.load("nplb_fast_path", code, LICENCE)
    try:
        path.unlink(missing_ok=True)
        bpf.pin(descriptor, path)
    finally:
        os.close(descriptor)
    return path
