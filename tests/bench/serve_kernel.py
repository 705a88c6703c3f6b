"""The kernel plane as the benchmark runs it, in the edge's namespace:
`serve_kernel.py MORE READY [--fast-path]`.

MORE is a number of other frontends of 100 backends each, which are there and not used. READY is a
file that is made once all of it serves.
"""

import argparse
import asyncio
import signal
import subprocess
from pathlib import Path

from nplb.dataplane.kernel.fastpath.survey import survey
from nplb.dataplane.kernel.host import examine
from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table
from nplb.model.kernel import KernelOptions
from tests.bench.arena import BULK_PORT, EDGE_IP, NODE_IPS, WEB_PORT
from tests.support.kernelplans import a_frontend, a_plan


async def main(more: int, ready: Path, *, fast_path: bool) -> None:
    """Serve until SIGTERM, and leave no rule."""
    plane = KernelPlane()
    await plane.start()
    try:
        await serve(plane, more, KernelOptions(fast_path=fast_path))
        await asyncio.to_thread(ready.touch)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
    finally:
        await plane.stop()
        await delete_table(Nft())


async def serve(plane: KernelPlane, more: int, kernel: KernelOptions) -> None:
    """Let a plane serve the two frontends that are measured, and others."""
    idle = [f"198.18.{n // 250}.{n % 250 + 1}" for n in range(100)]
    applied = await plane.apply(
        a_plan(
            a_frontend(
                "web",
                ips=NODE_IPS,
                listen=(EDGE_IP,),
                edge_port=WEB_PORT,
                node_port=WEB_PORT,
                kernel=kernel,
            ),
            a_frontend(
                "bulk",
                ips=NODE_IPS[:1],
                listen=(EDGE_IP,),
                edge_port=BULK_PORT,
                node_port=BULK_PORT,
                kernel=kernel,
            ),
            *(
                a_frontend(
                    f"idle-{n}",
                    ips=idle,
                    listen=(EDGE_IP,),
                    edge_port=20000 + n,
                    node_port=20000 + n,
                    kernel=kernel,
                )
                for n in range(more)
            ),
        )
    )
    if applied.listen_errors:
        raise SystemExit(str(applied.listen_errors))
    if kernel.fast_path:
        found = survey()
        if found is None or len(found.frontends) != more + 2:
            raise SystemExit("the fast path does not serve")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("more", type=int)
    parser.add_argument("ready", type=Path)
    parser.add_argument("--fast-path", action="store_true")
    options = parser.parse_args()
    if options.fast_path and not examine().bpffs:
        # `ip netns exec` mounts a sysfs of its own, without what was mounted in the host's.
        subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    asyncio.run(main(options.more, options.ready, fast_path=options.fast_path))
