"""The relay plane as the benchmark runs it, in the edge's namespace: `serve.py WORKERS`."""

import asyncio
import signal
import sys

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.keys import Address
from tests.bench.arena import BULK_PORT, EDGE_IP, NODE_IPS, WEB_PORT
from tests.support.plans import make_frontend, make_plan


async def main(workers: int) -> None:
    """Serve until SIGTERM."""
    plane = RelayPlane(workers=workers)
    plane.start_workers()
    await plane.start()
    web = [Address(ip, WEB_PORT) for ip in NODE_IPS]
    bulk = [Address(NODE_IPS[0], BULK_PORT)]
    applied = await plane.apply(
        make_plan(
            1,
            make_frontend(Address(EDGE_IP, WEB_PORT), web, name="web"),
            make_frontend(Address(EDGE_IP, BULK_PORT), bulk, name="bulk"),
        )
    )
    if applied.listen_errors:
        raise SystemExit(str(applied.listen_errors))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await plane.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
