"""The kernel plane as the benchmark runs it, in the edge's namespace: `serve_kernel.py [MORE]`.

MORE is a number of other frontends of 100 backends each, which are there and not used.
"""

import asyncio
import signal
import sys

from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table
from tests.bench.arena import BULK_PORT, EDGE_IP, NODE_IPS, WEB_PORT
from tests.support.kernelplans import a_frontend, a_plan


async def main(more: int) -> None:
    """Serve until SIGTERM, and leave no rule."""
    plane = KernelPlane()
    await plane.start()
    idle = [f"198.18.{n // 250}.{n % 250 + 1}" for n in range(100)]
    applied = await plane.apply(
        a_plan(
            a_frontend(
                "web", ips=NODE_IPS, listen=(EDGE_IP,), edge_port=WEB_PORT, node_port=WEB_PORT
            ),
            a_frontend(
                "bulk",
                ips=NODE_IPS[:1],
                listen=(EDGE_IP,),
                edge_port=BULK_PORT,
                node_port=BULK_PORT,
            ),
            *(
                a_frontend(
                    f"idle-{n}",
                    ips=idle,
                    listen=(EDGE_IP,),
                    edge_port=20000 + n,
                    node_port=20000 + n,
                )
                for n in range(more)
            ),
        )
    )
    if applied.listen_errors:
        raise SystemExit(str(applied.listen_errors))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await plane.stop()
    await delete_table(Nft())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
