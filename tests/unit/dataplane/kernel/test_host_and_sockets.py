"""What an edge lacks is named with what to do; ports that programs have are seen."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.dataplane.kernel.host import Host, examine, missing, require
from nplb.dataplane.kernel.sockets import Holder, conflict, holders
from nplb.model.errors import HostPermissionError
from nplb.model.keys import Address, Protocol

WHOLE = Host(
    net_admin=True, nft=True, nf_tables=True, conntrack=True, forwarding4=True, forwarding6=False
)
BARE = Host(
    net_admin=False, nft=False, nf_tables=False, conntrack=False, forwarding4=False,
    forwarding6=False,
)  # fmt: skip


def test_a_host_with_everything_lacks_nothing() -> None:
    assert missing(WHOLE) == ()
    require(WHOLE)
    assert missing(WHOLE, six=True) == (
        "forwarding of IPv6: sysctl -w net.ipv6.conf.all.forwarding=1",
    )


def test_the_stricter_of_two_filters_counts_unless_it_is_loose(tmp_path: Path) -> None:
    for name, value in (("all", 1), ("default", 0), ("lo", 1), ("eth0", 0), ("eth1", 2)):
        file = tmp_path / f"sys/net/ipv4/conf/{name}/rp_filter"
        file.parent.mkdir(parents=True)
        file.write_text(f"{value}\n")
    assert examine(tmp_path).strict_rp_filter == ("eth0",)


@pytest.mark.parametrize(
    ("bits", "bpf"),
    [((12,), False), ((12, 39), False), ((38, 39), True), ((21,), True)],  # linux/capability.h
)
def test_the_rights_to_load_programs(tmp_path: Path, bits: tuple[int, ...], bpf: bool) -> None:
    (tmp_path / "self").mkdir()
    mask = sum(1 << bit for bit in bits)
    (tmp_path / "self/status").write_text(f"Name:\tnplb\nCapEff:\t{mask:016x}\n")
    found = examine(tmp_path)
    assert (found.bpf, found.net_admin) == (bpf, 12 in bits)


@pytest.mark.parametrize(
    ("line", "mounted"),
    [("bpf /sys/fs/bpf bpf rw 0 0", True), ("bpf /run/bpf bpf rw 0 0", False), ("", False)],
)
def test_where_pinned_maps_live(tmp_path: Path, line: str, mounted: bool) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mounts").write_text(f"sysfs /sys sysfs rw 0 0\n{line}\n")
    assert examine(tmp_path).bpffs is mounted


def test_what_the_fast_path_needs_more() -> None:
    lacks = missing(WHOLE, fast_path=True)
    assert [lack.split(":")[0].removesuffix(" for kernel.fast_path") for lack in lacks] == [
        "the rights CAP_BPF and CAP_PERFMON",
        "the command tc",
        "bpffs",
    ]
    mounted = replace(WHOLE, bpf=True, tc=True, bpffs=True)
    (lack,) = missing(mounted, fast_path=True)
    assert "/sys/fs/bpf/nplb" in lack
    require(replace(mounted, pins=True), fast_path=True)
    with pytest.raises(HostPermissionError, match="mount -t bpf bpf /sys/fs/bpf"):
        require(WHOLE, fast_path=True)


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(HostPermissionError) as caught:
        require(BARE)
    for word in ("nftables", "CAP_NET_ADMIN", "modprobe nf_tables", "nf_conntrack", "ip_forward"):
        assert word in str(caught.value)
    assert caught.value.exit_code == 77


@pytest.mark.parametrize(
    ("theirs", "ours", "clash"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("0.0.0.0", "192.0.2.1", True),
        ("192.0.2.1", "0.0.0.0", True),
        ("127.0.0.1", "0.0.0.0", False),  # loopback is never taken by a wildcard
        ("::", "192.0.2.1", True),  # a socket for both families
        ("2001:db8::1", "0.0.0.0", False),
        ("2001:db8::1", "::", True),
        ("0.0.0.0", "::", False),
    ],
)
def test_conflicts(theirs: str, ours: str, clash: bool) -> None:
    holder = Holder(Protocol.TCP, Address(theirs, 80))
    assert conflict(holder, Address(ours, 80)) is clash


def test_sockets_of_other_processes_are_seen_and_our_own_are_not() -> None:
    code = (
        "import socket,sys\n"
        "t=socket.create_server(('127.0.0.1',0))\n"
        "u=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);u.bind(('::1',0))\n"
        "print(t.getsockname()[1],u.getsockname()[1],flush=True);sys.stdin.read()\n"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as own,
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
    ):
        assert other.stdout is not None
        tcp, udp = map(int, other.stdout.readline().split())
        found = holders()
        assert Holder(Protocol.TCP, Address("127.0.0.1", tcp)) in found[Protocol.TCP, tcp]
        assert Holder(Protocol.UDP, Address("::1", udp)) in found[Protocol.UDP, udp]
        # Others may have the same number on another address.
        port = own.getsockname()[1]
        ours = Holder(Protocol.TCP, Address("127.0.0.1", port))
        assert ours not in found.get((Protocol.TCP, port), ())
        other.communicate("")
