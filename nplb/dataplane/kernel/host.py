"""What the edge must have for the kernel plane: rights, tools, kernel features, forwarding."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from nplb.model.errors import HostPermissionError

_CAP_NET_ADMIN = 12
FORWARDING6 = "forwarding of IPv6: sysctl -w net.ipv6.conf.all.forwarding=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What was found on the edge. `forwarding4` and `forwarding6` are whether packets are
    forwarded; `strict_rp_filter` names the interfaces that drop packets whose way back is
    another one."""

    net_admin: bool
    nft: bool
    nf_tables: bool
    conntrack: bool
    forwarding4: bool
    forwarding6: bool
    strict_rp_filter: tuple[str, ...] = ()


def examine(root: Path = Path("/proc")) -> Host:
    """Look at the edge. `root` is where procfs is mounted."""
    net = root / "sys/net"
    return Host(
        net_admin=_has_capability(root / "self/status"),
        nft=shutil.which("nft", path=_path()) is not None,
        # Both appear with their modules; without procfs entries the first transaction tells.
        nf_tables=_has_module(root, "nf_tables"),
        conntrack=(net / "netfilter/nf_conntrack_max").exists()
        or _has_module(root, "nf_conntrack"),
        forwarding4=_read(net / "ipv4/ip_forward") == "1",
        forwarding6=_read(net / "ipv6/conf/all/forwarding") == "1",
        strict_rp_filter=_strict(net / "ipv4/conf"),
    )


def missing(host: Host, *, six: bool = False) -> tuple[str, ...]:
    """What the kernel plane lacks, each with what to do. `six` says whether any frontend has
    an IPv6 address."""
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
    return tuple(found)


def require(host: Host, *, six: bool = False) -> None:
    """Errors: HostPermissionError that names everything missing at once."""
    lacks = missing(host, six=six)
    if lacks:
        raise HostPermissionError(
            "the kernel plane lacks " + "; ".join(lacks) + ". Or set plane: relay, "
            "which needs none of it"
        )


def _path() -> str:
    """Where to look for commands: an ordinary user's PATH often lacks the last two."""
    import os

    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _has_capability(status: Path) -> bool:
    for line in _read(status).splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False


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
