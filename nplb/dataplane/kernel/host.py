"""What the edge must have for the kernel plane: rights, tools, kernel features, forwarding."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from nplb.model.errors import HostPermissionError

# The bits of linux/capability.h.
_CAP_NET_ADMIN, _CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 12, 21, 38, 39
_BPFFS = Path("/sys/fs/bpf")
PINS = _BPFFS / "nplb"  # where the fast path keeps what outlives this process
FORWARDING6 = "forwarding of IPv6: sysctl -w net.ipv6.conf.all.forwarding=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What was found on the edge. `forwarding4` and `forwarding6` are whether packets are
    forwarded; `strict_rp_filter` names the interfaces that drop packets whose way back is
    another one. `bpf` is whether eBPF programs may be loaded, `bpffs` whether the file system is
    mounted that keeps them, `pins` whether this process may write there."""

    net_admin: bool
    nft: bool
    nf_tables: bool
    conntrack: bool
    forwarding4: bool
    forwarding6: bool
    strict_rp_filter: tuple[str, ...] = ()
    bpf: bool = False
    tc: bool = False
    bpffs: bool = False
    pins: bool = False


def examine(root: Path = Path("/proc")) -> Host:
    """Look at the edge. `root` is where procfs is mounted."""
    net = root / "sys/net"
    rights = _capabilities(root / "self/status")
    return Host(
        net_admin=_CAP_NET_ADMIN in rights,
        nft=_has_command("nft"),
        # Both appear with their modules; without procfs entries the first transaction tells.
        nf_tables=_has_module(root, "nf_tables"),
        conntrack=(net / "netfilter/nf_conntrack_max").exists()
        or _has_module(root, "nf_conntrack"),
        forwarding4=_read(net / "ipv4/ip_forward") == "1",
        forwarding6=_read(net / "ipv6/conf/all/forwarding") == "1",
        strict_rp_filter=_strict(net / "ipv4/conf"),
        bpf=_CAP_SYS_ADMIN in rights or {_CAP_BPF, _CAP_PERFMON} <= rights,
        tc=_has_command("tc"),
        bpffs=_is_mounted(root / "self/mounts", _BPFFS, "bpf"),
        pins=any(os.access(p, os.W_OK | os.X_OK, effective_ids=True) for p in (PINS, _BPFFS)),
    )


def missing(host: Host, *, six: bool = False, fast_path: bool = False) -> tuple[str, ...]:
    """What the kernel plane lacks, each with what to do. `six` says whether any frontend has
    an IPv6 address, `fast_path` whether any asks for the fast path."""
    found: list[str] = []
    if not host.nft:
        found.append("the command nft: install nftables (on Debian: apt-get install nftables)")
    if not host.net_admin:
        found.append(
            "the right CAP_NET_ADMIN: run nplb as root, or with AmbientCapabilities=CAP_NET_ADMIN "
            "in its systemd unit"
        )
    if not host.nf_tables:
        found.append("nf_tables in the kernel: modprobe nf_tables")
    if not host.conntrack:
        found.append("connection tracking in the kernel: modprobe nf_conntrack")
    if not host.forwarding4:
        found.append("forwarding of IPv4: sysctl -w net.ipv4.ip_forward=1")
    if six and not host.forwarding6:
        found.append(FORWARDING6)
    return (*found, *missing_for_fast_path(host)) if fast_path else tuple(found)


def missing_for_fast_path(host: Host) -> tuple[str, ...]:
    """What kernel.fast_path lacks beyond what the table needs, each with what to do."""
    found: list[str] = []
    if not host.bpf:
        found.append(
            "the rights CAP_BPF and CAP_PERFMON for kernel.fast_path: run nplb as root, or with "
            "AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON in its systemd unit"
        )
    if not host.tc:
        found.append(
            "the command tc for kernel.fast_path: install iproute2 (on Debian: apt-get install "
            "iproute2)"
        )
    if not host.bpffs:
        found.append(f"bpffs for kernel.fast_path: mount -t bpf bpf {_BPFFS}")
    elif not host.pins:
        found.append(
            f"the right to write in {PINS} for kernel.fast_path: make it a directory of nplb's "
            "user, and let that pass through the one above (deploy/systemd/nplb-fast-path.tmpfiles)"
        )
    return tuple(found)


def require(host: Host, *, six: bool = False, fast_path: bool = False) -> None:
    """Errors: HostPermissionError that names everything missing at once."""
    lacks = missing(host, six=six, fast_path=fast_path)
    if lacks:
        raise HostPermissionError(
            "the kernel plane lacks " + "; ".join(lacks) + ". Or set plane: relay, "
            "which needs none of it"
        )


def _has_command(name: str) -> bool:
    """An ordinary user's PATH often lacks the last two."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(name, path=path) is not None


def _capabilities(status: Path) -> frozenset[int]:
    """The effective capabilities of this process, as bits."""
    for line in _read(status).splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return frozenset()


def _is_mounted(mounts: Path, place: Path, kind: str) -> bool:
    lines = (line.split() for line in _read(mounts).splitlines())
    return any(line[1:3] == [str(place), kind] for line in lines)


def _has_module(root: Path, name: str) -> bool:
    """Whether the kernel has a module loaded, built in, or ready to be loaded by a request."""
    if (Path("/sys/module") / name).exists():
        return True
    release = _read(root / "sys/kernel/osrelease")
    modules = Path("/lib/modules") / release
    for index in ("modules.builtin", "modules.dep"):
        if f"/{name}.ko" in _read(modules / index):
            return True
    # Built in without a list of what is: only use will tell.
    return not modules.is_dir()


def _strict(folder: Path) -> tuple[str, ...]:
    """The interfaces whose reverse-path filter is strict: the larger one of `all` and their own
    counts (ip-sysctl.rst)."""
    general = _number(folder / "all/rp_filter")
    names = sorted(each.parent.name for each in folder.glob("*/rp_filter"))
    return tuple(
        name
        for name in names
        if name not in ("all", "default", "lo")
        and max(general, _number(folder / name / "rp_filter")) == 1
    )


def _number(path: Path) -> int:
    text = _read(path)
    return int(text) if text.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
