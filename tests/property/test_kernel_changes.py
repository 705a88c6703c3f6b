"""A thousand random changes of the plan end with exactly the table that a fresh start writes."""

import asyncio
import random
import re
import subprocess
from dataclasses import replace

import pytest

from nplb.dataplane.kernel.changes import replacement, transaction
from nplb.dataplane.kernel.crowds import CROWD
from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane
from nplb.dataplane.kernel.render import render
from nplb.model.kernel import KernelOptions, Refusal
from nplb.model.keys import Address, BackendKey, Protocol
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendReason, BackendState, Balance
from nplb.model.relay import Leave, NoBackend, RelayOptions
from nplb.policy.kernel import BALANCES
from tests.support.fakenft import FakeNft
from tests.support.kernelplans import a_crowd, a_frontend, a_plan
from tests.support.netns import namespaces, requires_namespaces


class Plans:
    """Frontends that change at random, and stay something that a plan could hold."""

    def __init__(self, seed: int, *, hashed: bool = True) -> None:
        self.rng = random.Random(seed)
        self.frontends: dict[str, Frontend] = {}
        self.crowd: Frontend | None = None  # how each of many is
        self.size = 0
        self.balances = [
            b for b in BALANCES if hashed or b not in (Balance.MAGLEV, Balance.SOURCE_HASH)
        ]

    def step(self, crowds: float = 0.0) -> list[Frontend]:
        """The frontends after one more change. `crowds` is how likely many change at once."""
        rng = self.rng
        name = f"web-{rng.randrange(6)}"
        frontend = self.frontends.get(name)
        if frontend is None:
            self.frontends[name] = self._new(name)
        else:
            change = rng.choice(
                [self._state, self._state, self._state, self._join, self._leave, self._options,
                 self._weigh, self._listen]
            )  # fmt: skip
            self.frontends[name] = change(frontend)
            if rng.random() < 0.05:
                del self.frontends[name]
        if crowds and rng.random() < crowds:
            self._gather()
        crowd = a_crowd(self.crowd, self.size) if self.crowd is not None else []
        return [*crowd, *(self.frontends[key] for key in sorted(self.frontends))]

    def _gather(self) -> None:
        """Many have the same backends, and what becomes of one becomes of all."""
        rng = self.rng
        if self.crowd is None:
            ips = [f"192.0.2.{n}" for n in range(1, rng.randrange(2, 14))]
            self.crowd = a_frontend("all", ips=ips, listen=("198.51.100.1", "::"), edge_port=40000)
        change = rng.choice([self._state, self._state, self._join, self._leave, self._weigh])
        self.crowd = change(self.crowd)
        self.size = CROWD + rng.choice((-1, 0, 0, 0, 0, 1))

    def _new(self, name: str) -> Frontend:
        number = int(name[-1])
        protocol = self.rng.choice((Protocol.TCP, Protocol.UDP))
        frontend = a_frontend(
            name,
            ips=[f"192.0.2.{n}" for n in range(1, 1 + self.rng.randrange(4))],
            listen=("198.51.100.1",),
            edge_port=30100 + number,
            node_port=30100 + number,
            protocol=protocol,
            balance=self.rng.choice(self.balances),
        )
        return self._options(frontend)

    def _state(self, frontend: Frontend) -> Frontend:
        backends = list(frontend.backends)
        if backends:
            place = self.rng.randrange(len(backends))
            backends[place] = replace(
                backends[place],
                state=self.rng.choice(list(BackendState)),
                reason=BackendReason.TIMEOUT,
            )
        return replace(frontend, backends=tuple(backends))

    def _weigh(self, frontend: Frontend) -> Frontend:
        backends = [replace(b, weight=self.rng.randrange(1, 4)) for b in frontend.backends]
        return replace(frontend, backends=tuple(backends))

    def _join(self, frontend: Frontend) -> Frontend:
        number = self.rng.randrange(1, 12)
        ip = self.rng.choice((f"192.0.2.{number}", f"2001:db8::{number:x}"))
        if any(b.key.address.ip == ip for b in frontend.backends):
            return frontend
        key = BackendKey(frontend.key, f"node-{ip}", Address(ip, frontend.node_port))
        joined = Backend(key=key, state=BackendState.ACTIVE, reason=BackendReason.PASSING)
        backends = (*frontend.backends, joined)
        return replace(frontend, backends=tuple(sorted(backends, key=lambda b: b.key)))

    def _leave(self, frontend: Frontend) -> Frontend:
        backends = list(frontend.backends)
        if backends:
            backends.pop(self.rng.randrange(len(backends)))
        return replace(frontend, backends=tuple(backends))

    def _listen(self, frontend: Frontend) -> Frontend:
        ips = self.rng.sample(["198.51.100.1", "198.51.100.2", "0.0.0.0", "2001:db8:1::1", "::"], 2)
        return replace(frontend, listen=tuple(Address(ip, frontend.node_port) for ip in ips))

    def _options(self, frontend: Frontend) -> Frontend:
        rng = self.rng
        relay = RelayOptions(
            no_backend=rng.choice((NoBackend.REFUSE, NoBackend.UNBIND, NoBackend.FAIL_OPEN)),
            source_ranges=rng.choice(((), ("10.0.0.0/8",), ("0.0.0.0/0", "2001:db8::/32"))),
            affinity_seconds=rng.choice((0, 60, 120)),
            max_connections=rng.choice((0, 10)),
            max_connections_per_client=rng.choice((0, 5)),
            client_rate=rng.choice((0, 3)),
            on_leave=rng.choice(list(Leave)),
        )
        kernel = KernelOptions(
            masquerade=rng.random() < 0.5, refusal=rng.choice(list(Refusal)), end_on_down=False
        )
        return replace(frontend, relay=relay, kernel=kernel)


@pytest.mark.parametrize("seed", range(5))
def test_in_memory(seed: int) -> None:
    plans, nft, have = Plans(seed, hashed=seed == 0), FakeNft(), None
    for step in range(200 if seed else 60):
        frontends = plans.step(crowds=0.0 if seed else 0.5)
        want = render(frontends)
        text = transaction(have, want)
        nft.apply(text)
        assert nft.table == want
        assert transaction(want, render(frontends)) == ""
        have = want
        if step % 50 == 49:
            fresh = FakeNft()
            fresh.apply(replacement(want))
            assert fresh.table == nft.table
            nft.apply(replacement(want))
            assert nft.table == want


def listing(namespace: str) -> list[str]:
    """The table as nft prints it, without what only the order of its making decides."""
    printed = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "-s", "list", "table", "inet", "nplb"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    blocks = printed.removeprefix("table inet nplb {\n").split("\n\n")
    return sorted(" ".join(sorted(re.sub("[,{}]", " ", block).split())) for block in blocks)


@requires_namespaces[0]
@requires_namespaces[1]
@pytest.mark.timeout(120)
async def test_in_the_kernel() -> None:
    with namespaces("edge", "fresh") as made:
        plans = Plans(99, hashed=False)
        with made["edge"].entered():
            plane = KernelPlane(now=lambda: 0.0)
            for step in range(1000):
                frontends = plans.step(crowds=0.05)
                if step % 10 == 9:
                    await plane.apply(a_plan(*frontends))
        with made["fresh"].entered():
            fresh = KernelPlane(now=lambda: 0.0)
            await fresh.apply(a_plan(*frontends))
        assert listing(made["edge"].name) == listing(made["fresh"].name)
        with made["edge"].entered():
            again = KernelPlane(nft=_NeverWrites(), now=lambda: 0.0)
            await plane.apply(a_plan(*frontends))
            with pytest.raises(AssertionError, match="flush chain"):
                await again.apply(a_plan(*frontends))  # takes over: rules alone are rewritten
    await asyncio.sleep(0)


class _NeverWrites(Nft):
    async def check(self, text: str) -> None:
        assert "element" not in text, text
        raise AssertionError(text[:200])
