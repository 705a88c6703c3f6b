"""A thousand random changes of the plan end with exactly the maps that a fresh start writes: worked
out in memory, and in the kernel."""

from collections.abc import Mapping

import pytest

from nplb.dataplane.kernel.fastpath import layout
from nplb.dataplane.kernel.fastpath.fastpath import FastPath
from nplb.dataplane.kernel.fastpath.tables import Tables, Tabulator
from nplb.dataplane.kernel.render import Renderer
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from tests.property.test_kernel_changes import Plans
from tests.support.fastpath import entries, pins_removed
from tests.support.netns import namespaces, requires_namespaces

SOURCES: Mapping[str, str] = {f"192.0.2.{n}": "192.0.2.254" for n in range(1, 10)} | {
    f"2001:db8::{n:x}": "2001:db8::ff" for n in range(1, 12)
}


def tabulated(frontends: list[Frontend], renderer: Renderer, tabulator: Tabulator) -> Tables:
    renderer.render(frontends)
    return tabulator.tables(renderer.rendered, SOURCES)


@pytest.mark.parametrize("seed", range(4))
def test_in_memory(seed: int) -> None:
    plans, renderer, tabulator = Plans(seed, hashed=seed == 0), Renderer(), Tabulator()
    for _ in range(200 if seed else 20):
        frontends = plans.step()
        found = tabulated(frontends, renderer, tabulator)
        assert found == tabulated(frontends, Renderer(), Tabulator())
        for value in found.frontends.values():
            seats = found.layouts[layout.layout_of(value)]
            assert all(layout.layout_of(key) == layout.layout_of(value) for key in seats)


@requires_namespaces[0]
@requires_namespaces[1]
def test_in_the_kernel() -> None:
    with namespaces("edge") as made, pins_removed(made["edge"]):
        edge = made["edge"]
        edge.run("ip", "addr", "add", "192.0.2.254/24", "dev", "lo")
        with edge.entered():
            plans, renderer, path = Plans(99, hashed=False), Renderer(), FastPath()
            for step in range(600):
                frontends = [f for f in plans.step() if f.key.protocol is Protocol.TCP]
                if step % 10 == 9:
                    renderer.render(frontends)
                    path.apply(renderer.rendered)
            path.close()
            held = [entries(edge, name) for name in ("seats", "frontends")]
            fresh = Renderer()
            fresh.render(frontends)
            sources = path._sources
            want = Tabulator().tables(fresh.rendered, sources)
        seats = {key: value for each in want.layouts.values() for key, value in each.items()}
        assert held[0] == seats
        assert {key: layout.with_turn(value) for key, value in held[1].items()} == want.frontends
        assert seats
