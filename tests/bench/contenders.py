"""Who is compared: nplb's planes, HAProxy as most run it and tuned, nginx stream, and nobody."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.arena import BULK_PORT, EDGE_IP, NODE_IPS, SHARED_IP, WEB_PORT, Arena

HAPROXY = """\
global
  maxconn 7500
  nbthread {threads}
  {tuning}
defaults
  mode tcp
  timeout connect 3s
  timeout client 1h
  timeout server 1h
  balance roundrobin
  {options}
frontend web
  bind {edge}:{web}
  default_backend web
backend web
  server n1 {n1}:{web}
  server n2 {n2}:{web}
frontend bulk
  bind {edge}:{bulk}
  default_backend bulk
backend bulk
  server n1 {n1}:{bulk}
"""

NGINX = """\
load_module {module};
worker_processes {threads}; daemon off; pid {dir}/edge.pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
stream {{
  upstream web {{ server {n1}:{web}; server {n2}:{web}; }}
  upstream bulk {{ server {n1}:{bulk}; }}
  server {{ listen {edge}:{web} reuseport backlog=4096; proxy_pass web; proxy_timeout 1h; }}
  server {{ listen {edge}:{bulk} reuseport backlog=4096; proxy_pass bulk; proxy_timeout 1h; }}
}}
"""

READY = "ready"  # the file that the kernel plane makes
STREAM_MODULES = (
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way from client to nodes. `ip` is where the client connects to, `bulk_ip` for bulk,
    which is one node's alone; `has_threads` is whether it makes a difference how many it is
    given."""

    name: str
    ip: str = EDGE_IP
    bulk_ip: str = EDGE_IP
    has_threads: bool = True

    def start(self, arena: Arena, threads: int) -> "subprocess.Popen[bytes] | None":
        """Start it with so many threads or workers; None when there is nothing to start."""
        command = _command(self.name, arena.folder, threads)
        if command is None:
            return None
        (ready := arena.folder / READY).unlink(missing_ok=True)
        process = arena.spawn("edge", command)
        # What serves before it is ready is not yet what is to be measured.
        while str(ready) in command and not ready.exists():
            if process.poll() is not None:
                raise RuntimeError(f"{self.name} has ended: {arena.log('edge', command)}")
            time.sleep(0.05)
        arena.wait_for(self.ip, WEB_PORT)
        arena.wait_for(self.bulk_ip, BULK_PORT)
        return process


CONTENDERS = (
    Contender(name="direct", ip=SHARED_IP, bulk_ip=NODE_IPS[0], has_threads=False),
    Contender(name="nplb"),
    Contender(name="nplb-kernel", has_threads=False),
    Contender(name="nplb-kernel-2000", has_threads=False),
    Contender(name="nplb-kernel-fast", has_threads=False),
    Contender(name="nplb-kernel-fast-2000", has_threads=False),
    Contender(name="haproxy-tuned"),
    Contender(name="haproxy"),
    Contender(name="nginx"),
)


def _command(name: str, folder: Path, threads: int) -> list[str] | None:
    values = {
        "edge": EDGE_IP,
        "n1": NODE_IPS[0],
        "n2": NODE_IPS[1],
        "web": WEB_PORT,
        "bulk": BULK_PORT,
        "threads": threads,
        "dir": folder,
    }
    if name == "direct":
        return None
    if name == "nplb":
        return [sys.executable, "-m", "tests.bench.serve", str(threads)]
    if name.startswith("nplb-kernel"):
        more = "2000" if name.endswith("-2000") else "0"
        fast = ["--fast-path"] if "-fast" in name else []
        return [sys.executable, "-m", "tests.bench.serve_kernel", more, str(folder / READY), *fast]
    if name == "nginx":
        module = next(path for path in STREAM_MODULES if Path(path).exists())
        conf = folder / "edge-nginx.conf"
        conf.write_text(NGINX.format(module=module, **values))
        return ["nginx", "-c", str(conf), "-e", "/dev/null", "-p", str(folder)]
    tuned = name == "haproxy-tuned"
    conf = folder / f"{name}.cfg"
    conf.write_text(
        HAPROXY.format(
            tuning="tune.bufsize 262144\n  tune.pipesize 1048576" if tuned else "",
            options=(
                "option splice-request\n  option splice-response" if tuned else "option splice-auto"
            ),
            **values,
        )
    )
    return ["haproxy", "-db", "-f", str(conf)]
