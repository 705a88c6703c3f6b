"""Short ways to build frontends for the kernel plane's tests."""

from collections.abc import Sequence
from dataclasses import replace

from nplb.dataplane.kernel.crowds import CROWD
from nplb.model.kernel import KernelOptions, PlaneKind
from nplb.model.keys import Address, BackendKey, FrontendKey, Protocol, ServiceKey
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance
from nplb.model.relay import RelayOptions

_REASONS = {
    BackendState.ACTIVE: BackendReason.PASSING,
    BackendState.DRAINING: BackendReason.NODE_DELETING,
    BackendState.DOWN: BackendReason.TIMEOUT,
}


def a_key(name: str = "web", port: int = 80, protocol: Protocol = Protocol.TCP) -> FrontendKey:
    return FrontendKey(ServiceKey("prod", "shop", name), port, protocol)


def a_frontend(
    name: str = "web",
    *,
    ips: Sequence[str] = ("10.72.1.2", "10.72.2.2"),
    listen: Sequence[str] = ("10.71.0.1",),
    edge_port: int = 443,
    node_port: int = 30080,
    protocol: Protocol = Protocol.TCP,
    balance: Balance = Balance.ROUND_ROBIN,
    weights: Sequence[int] = (),
    relay: RelayOptions | None = None,
    kernel: KernelOptions | None = None,
) -> Frontend:
    """A frontend on the kernel plane whose backends are all active."""
    key = a_key(name, protocol=protocol)
    backends = tuple(
        Backend(
            key=BackendKey(key, f"node-{number}", Address(ip, node_port)),
            state=BackendState.ACTIVE,
            reason=BackendReason.PASSING,
            weight=weights[number - 1] if weights else 1,
        )
        for number, ip in enumerate(ips, 1)
    )
    return Frontend(
        key=key,
        node_port=node_port,
        listen=tuple(Address(ip, edge_port) for ip in listen),
        balance=balance,
        backends=backends,
        relay=relay or RelayOptions(),
        plane=PlaneKind.KERNEL,
        kernel=kernel or KernelOptions(),
    )


def a_crowd(frontend: Frontend, size: int = CROWD) -> list[Frontend]:
    """So many that are like this one, each with an edge port of its own: its own and those after
    it."""
    return [
        replace(
            frontend,
            key=(key := a_key(f"{frontend.key.service.name}-{n}", protocol=frontend.key.protocol)),
            listen=tuple(Address(each.ip, each.port + n) for each in frontend.listen),
            backends=tuple(replace(b, key=b.key._replace(frontend=key)) for b in frontend.backends),
        )
        for n in range(size)
    ]


def with_state(
    frontend: Frontend,
    node: int,
    state: BackendState,
    reason: BackendReason | None = None,
    since: float = 0.0,
) -> Frontend:
    """The same frontend with one node, counted from 1, in another state."""
    backends = list(frontend.backends)
    backends[node - 1] = replace(
        backends[node - 1], state=state, reason=reason or _REASONS[state], since=since
    )
    return replace(frontend, backends=tuple(backends))


def without(frontend: Frontend, node: int) -> Frontend:
    """The same frontend without one node, counted from 1."""
    backends = tuple(b for n, b in enumerate(frontend.backends, 1) if n != node)
    return replace(frontend, backends=backends)


_generation = 0


def a_plan(*frontends: Frontend) -> Plan:
    """A plan of these, sorted, with the next generation."""
    global _generation
    _generation += 1
    return Plan(generation=_generation, frontends=tuple(sorted(frontends, key=lambda f: f.key)))
