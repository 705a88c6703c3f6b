"""What this host lacks for a configuration: rights, descriptors, addresses, directories.

`nplb check` says it beforehand; `nplb run` meets it one frontend at a time.
"""

import errno
import os
import resource
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nplb.dataplane.kernel.host import Host, examine, missing
from nplb.dataplane.kernel.wayback import way_back_notes
from nplb.model.keys import Address
from nplb.model.settings import EdgePort, FrontendSettings, PlaneKind, Settings
from nplb.observe.interfaces import interface_addresses
from nplb.policy.kernel import asking_for_fast_path, plane_of

_PORT_START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_STATUS = Path("/proc/self/status")
_NET_BIND_SERVICE = 10  # the bit of linux/capability.h
_FEW_FILES = 16_384
# A connection takes two descriptors, and two more while it carries bulk.
_FILES_A_CONNECTION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What matters of this host. Ports below `open_ports_from` need a right, which this
    process has if `may_bind_low`; `max_files` bounds the descriptors of each worker;
    `kernel` is what the kernel plane wants."""

    open_ports_from: int
    may_bind_low: bool
    max_files: int
    kernel: Host


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNote:
    """Something that this host lacks. `subject` is the key that wants it; without what is
    `needed` nplb does not start at all; where `lacking` is false it is only to be known."""

    subject: str
    message: str
    needed: bool = False
    lacking: bool = True


def read_host_facts() -> HostFacts:
    """The facts of this host and this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return HostFacts(
        open_ports_from=_read_int(_PORT_START, 1024),
        may_bind_low=_has_capability(_NET_BIND_SERVICE),
        max_files=hard if hard != resource.RLIM_INFINITY else 2**30,
        kernel=examine(),
    )


def host_notes(settings: Settings, facts: HostFacts) -> Iterator[HostNote]:
    """Everything that this host lacks for these settings."""
    yield from _kernel_plane(settings, facts)
    yield from _rights(settings, facts)
    yield from _addresses(settings)
    if facts.max_files < _FEW_FILES:
        about = facts.max_files // _FILES_A_CONNECTION
        yield HostNote(
            subject="workers",
            message=f"each worker may have {facts.max_files} file descriptors, which is about "
            f"{about} connections: raise the limit (LimitNOFILE, or ulimit -Hn)",
        )
    if settings.state_dir is not None:
        yield from _state_dir(settings.state_dir)


def _kernel_plane(settings: Settings, facts: HostFacts) -> Iterator[HostNote]:
    asking = [f"frontends[{i}].plane" for i, f in enumerate(settings.frontends) if _on_kernel(f)]
    if settings.plane is PlaneKind.KERNEL:
        asking = ["plane"]
    if not asking:
        return
    ips = [*settings.listen.addresses, *(address.ip for _, address in _listens(settings))]
    six = any(":" in ip for ip in ips)
    fast = dict(asking_for_fast_path(settings))
    for what in missing(facts.kernel, six=six, fast_path=bool(fast)):
        yield HostNote(subject=asking[0], message=f"the kernel plane lacks {what}", needed=True)
    for keys in sorted({keys for keys in fast.values() if keys}):
        where = ", ".join(section for section, held in fast.items() if held == keys)
        what = f"{where}: frontends go through nftables, not the fast path, for {', '.join(keys)}"
        yield HostNote(subject="kernel.fast_path", message=what, lacking=False)
    keeping = next(_keeping_clients_addresses(settings), None)
    if keeping is not None:
        for note in way_back_notes(facts.kernel):
            yield HostNote(subject=keeping, message=note, lacking=False)


def _keeping_clients_addresses(settings: Settings) -> Iterator[str]:
    """The keys by which frontends on the kernel plane show nodes their clients' addresses."""
    if settings.plane is PlaneKind.KERNEL and not settings.kernel.masquerade:
        yield "kernel.masquerade"
    for index, frontend in enumerate(settings.frontends):
        own = frontend.kernel or settings.kernel
        if plane_of(settings, frontend) is PlaneKind.KERNEL and not own.masquerade:
            where = f"frontends[{index}]." if frontend.kernel else ""
            yield f"{where}kernel.masquerade"


def _on_kernel(frontend: FrontendSettings) -> bool:
    return frontend.plane is PlaneKind.KERNEL


def _listens(settings: Settings) -> Iterator[tuple[str, Address]]:
    """Every address and port that the configuration names, and the key that does."""
    for index, frontend in enumerate(settings.frontends):
        for address in frontend.listen or ():
            yield f"frontends[{index}].listen", address
    if settings.admin.listen is not None:
        yield "admin.listen", settings.admin.listen


def _rights(settings: Settings, facts: HostFacts) -> Iterator[HostNote]:
    if facts.may_bind_low:
        return
    advice = (
        "run it with CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or "
        "set net.ipv4.ip_unprivileged_port_start"
    )
    for subject, address in _listens(settings):
        if 0 < address.port < facts.open_ports_from:
            what = f"this user may not listen on {address}"
            yield HostNote(subject=subject, message=f"{what}: {advice}")
    if settings.listen.port is EdgePort.SERVICE and facts.open_ports_from > 1:
        what = f"this user may not listen on Services' ports below {facts.open_ports_from}"
        yield HostNote(subject="listen.port", message=f"{what}: {advice}")


def _addresses(settings: Settings) -> Iterator[HostNote]:
    named = [("listen.addresses", ip) for ip in settings.listen.addresses]
    named += [(subject, address.ip) for subject, address in _listens(settings)]
    named += [("source_addresses", ip) for ip in settings.relay.source_addresses]
    for index, frontend in enumerate(settings.frontends):
        if frontend.relay is not None:
            own = set(frontend.relay.source_addresses) - set(settings.relay.source_addresses)
            named += [(f"frontends[{index}].source_addresses", ip) for ip in sorted(own)]
    for subject, ip in dict.fromkeys(named):
        why = _why_not_ours(ip)
        if why:
            yield HostNote(subject=subject, message=why)


def _why_not_ours(ip: str) -> str:
    """Why nothing can listen on an address here; empty if something can."""
    if ip.startswith("%"):
        known = interface_addresses()
        if ip[1:] in known:
            return ""
        there = ", ".join(sorted(known))
        return f"this host has no interface {ip[1:]} with an address; there are {there}"
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((ip, 0))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{ip} is no address of this host: add it to an interface, or correct it"
        if error.errno == errno.EAFNOSUPPORT:
            return f"this host has no IPv6: remove {ip}"
        return f"{ip} can't be listened on: {error.strerror}"
    return ""


def _state_dir(place: Path) -> Iterator[HostNote]:
    nearest = next(p for p in (place, *place.parents) if p.exists())
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        what = f"this user may not write in {nearest}"
        yield HostNote(subject="state_dir", message=f"{what}: change its owner, or name another")


def _read_int(path: Path, default: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return default


def _has_capability(bit: int) -> bool:
    try:
        lines = _STATUS.read_text().splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
        return bool(int(mask, 16) >> bit & 1)
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0
