"""How long a plan of 2,000 frontends with 100 backends each takes to apply, and one node's change.

    python -m tests.bench.bench_relay_apply

A client asks for an answer all the while; the longest it waited is printed too.
"""

import asyncio
import dataclasses
import gc
import time

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.keys import Address, BackendKey
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance
from tests.support.plans import frontend_key, make_frontend
from tests.support.relay import echo, free_address, own_ip, serving

FRONTENDS = 2000
NODES = 100


def big_plan(ip: str, base: int) -> tuple[Frontend, ...]:
    """Frontends on ports from `base` on."""
    found = []
    for number in range(FRONTENDS):
        key = frontend_key(f"s{number:04}")
        backends = tuple(
            Backend(
                key=BackendKey(key, f"n{node:03}", Address(f"10.0.0.{node}", 30000)),
                state=BackendState.ACTIVE,
                reason=BackendReason.PASSING,
            )
            for node in range(NODES)
        )
        found.append(
            Frontend(
                key=key,
                node_port=30000,
                listen=(Address(ip, base + number),),
                balance=Balance.LEAST_CONNECTIONS,
                backends=backends,
            )
        )
    return tuple(found)


def without(frontend: Frontend, node: int, *, share: bool) -> Frontend:
    """The frontend with one node down. Unless objects are shared, all are made anew, as by a
    planner that starts from nothing."""
    backends = list(frontend.backends)
    if not share:
        backends = [
            dataclasses.replace(
                b,
                key=BackendKey(
                    b.key.frontend, b.key.node, Address(b.key.address.ip, b.key.address.port)
                ),
            )
            for b in backends
        ]
    backends[node] = dataclasses.replace(
        backends[node], state=BackendState.DOWN, reason=BackendReason.REFUSED
    )
    return dataclasses.replace(frontend, backends=tuple(backends))


async def main(workers: int = 2) -> None:
    """Measure."""
    plane = RelayPlane(workers=workers)
    plane.start_workers()
    await plane.start()
    async with serving(echo) as backend:
        served = make_frontend(free_address(), [backend], name="served")
        frontends = big_plan(own_ip(), 20_000)
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            address = served.listen[0]
            reader, writer = await asyncio.open_connection(address.ip, address.port)
            while True:
                began = time.perf_counter()
                writer.write(b"x")
                await reader.readexactly(1)
                longest = max(longest, time.perf_counter() - began)
                await asyncio.sleep(0.001)

        await plane.apply(Plan(generation=1, frontends=(served,)))
        watching = asyncio.ensure_future(watch())  # noqa: TID251
        await asyncio.sleep(0.1)
        generation = 1

        async def apply(what: str, *plan: Frontend) -> None:
            nonlocal longest, generation
            generation += 1
            await asyncio.sleep(0.05)
            longest = 0.0
            began, cpu = time.perf_counter(), time.process_time()
            applied = await plane.apply(Plan(generation=generation, frontends=(served, *plan)))
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            await asyncio.sleep(0.05)
            errors = f", {len(applied.listen_errors)} errors" if applied.listen_errors else ""
            print(
                f"{what:42}{seconds * 1000:8.1f} ms   control's CPU {cpu * 1000:7.1f} ms   "
                f"longest wait {longest * 1000:6.1f} ms{errors}"
            )

        gc.freeze()
        await apply("all frontends, new", *frontends)
        await apply("the same plan", *frontends)
        down = tuple(without(f, 7, share=True) for f in frontends)
        await apply("one node down in all, rest shared", *down)
        up = tuple(without(f, 8, share=False) for f in frontends)
        await apply("another node down, everything made anew", *up)
        one = (without(up[5], 9, share=True), *up[:5], *up[6:])
        await apply("one backend of one frontend", *one)
        gone = tuple(dataclasses.replace(f, backends=f.backends[:50]) for f in frontends)
        await apply("half of the nodes leave", *gone)
        await apply("all leave")
        watching.cancel()
    await plane.stop()


if __name__ == "__main__":
    asyncio.run(main())
