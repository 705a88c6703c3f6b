"""`nplb run` under what the systemd unit forbids, as far as a process can forbid it itself."""

import socket
import sys
from pathlib import Path

from tests.support.edge import Edge, children
from tests.support.lab import Networks
from tests.support.labmanifests import documents, node, service

# NoNewPrivileges, MemoryDenyWriteExecute (where the kernel has it: Linux 6.3), UMask; then what
# follows on the command line.
LIMITED = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
libc.prctl(65, 1, 0, 0, 0)
os.umask(0o027)
os.execv(sys.argv[1], sys.argv[1:])
"""


def process_status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


async def test_it_serves_under_the_units_limits(
    edge: Edge, tmp_path: Path, networks: Networks
) -> None:
    ip = networks.node(1)
    manifest = documents(service("web", node_port=30080), node("n", ip))
    (tmp_path / "cluster.yaml").write_text(manifest)
    edge.configure("[{name: a, manifests: [cluster.yaml]}]", health="{enabled: false}")
    with socket.create_server((ip, 30080)) as server:
        await edge.start(sys.executable, "-c", LIMITED)
        await edge.serves("web")
        with socket.create_connection((edge.ip, 30080), timeout=10) as client:
            taken, _ = server.accept()
            with taken:
                taken.sendall(b"hello")
                assert client.recv(16) == b"hello"
    assert edge.process is not None
    assert edge.process.returncode is None
    workers = children(edge.process.pid)
    assert workers
    assert all("NoNewPrivs:\t1" in process_status(pid) for pid in workers)
