"""Who listens on the host, by pid and command, and which ports the kernel gives away."""

import os
import socket
from pathlib import Path

import pytest

from nplb.model.ledger import EphemeralView, HostPortView
from nplb.observe.hostports import ephemeral_ports, host_listeners

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def line(local: str, state: str, inode: int) -> str:
    zero = "0" * len(local.partition(":")[0])
    return (
        f"   0: {local} {zero}:0000 {state} 00000000:00000000 00:00000000 00000000"
        f"     0        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with two listeners that can be seen into, one that can't, and a connection."""
    net = tmp_path / "net"
    net.mkdir()
    (net / "tcp").write_text(
        HEADER
        + line("0100007F:1F90", "0A", 11)
        + line("00000000:7530", "0A", 12)
        + line("00000000:7530", "0A", 13)
        + line("00000000:0050", "0A", 99)
        + line("0100007F:C350", "01", 14)
    )
    (net / "tcp6").write_text(
        HEADER
        + line("B80D0120000000000000000001000000:7530", "0A", 15)
        + line("00000000000000000000000000000000:01BB", "0A", 16)
    )
    for pid, command, inodes in [
        (300, "nginx", [11, 15]),
        (200, "haproxy", [12, 13]),
        (400, "haproxy", [12]),
    ]:
        fds = tmp_path / str(pid) / "fd"
        fds.mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(command + "\n")
        (fds / "0").symlink_to("/dev/null")
        for number, inode in enumerate(inodes, 3):
            (fds / str(number)).symlink_to(f"socket:[{inode}]")
    (tmp_path / "500").mkdir()
    (tmp_path / "self").mkdir()
    settings = tmp_path / "sys/net/ipv4"
    settings.mkdir(parents=True)
    (settings / "ip_local_port_range").write_text("32768\t60999\n")
    (settings / "ip_local_reserved_ports").write_text("8080,30000-32767\n")
    return tmp_path


def test_names_pid_and_command_where_the_system_tells(proc: Path) -> None:
    assert host_listeners(proc=proc) == (
        HostPortView(address="0.0.0.0", port=80),
        HostPortView(address="::", port=443),
        HostPortView(address="127.0.0.1", port=8080, pid=300, command="nginx"),
        HostPortView(address="0.0.0.0", port=30000, pid=200, command="haproxy"),
        HostPortView(address="2001:db8::1", port=30000, pid=300, command="nginx"),
    )


def test_looks_only_at_the_ports_asked_for(proc: Path) -> None:
    assert [v.port for v in host_listeners({443, 8080}, proc=proc)] == [443, 8080]
    assert host_listeners(set(), proc=proc) == ()


def test_reads_the_ephemeral_range(proc: Path) -> None:
    assert ephemeral_ports(proc=proc) == EphemeralView(
        low=32768, high=60999, reserved="8080,30000-32767"
    )


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert host_listeners(proc=tmp_path) == ()
    assert ephemeral_ports(proc=tmp_path) is None


@pytest.mark.parametrize(
    ("family", "ip"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_finds_our_own_listener_on_this_host(family: int, ip: str) -> None:
    with socket.socket(family) as server:
        server.bind((ip, 0))
        server.listen()
        port = server.getsockname()[1]
        (found,) = [v for v in host_listeners({port}) if v.address == ip]
    assert found.pid == os.getpid()
    assert found.command == Path("/proc/self/comm").read_text().strip()
