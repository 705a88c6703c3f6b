"""Plans for planes under test, in few words."""

from collections.abc import Sequence
from typing import Any

from nplb.model.keys import Address, BackendKey, FrontendKey, ServiceKey
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance


def frontend_key(name: str = "web", port: int = 80) -> FrontendKey:
    """The key of a frontend of service `test/default/<name>`."""
    return FrontendKey(ServiceKey("test", "default", name), port)


def make_backend(
    key: FrontendKey,
    node: str,
    address: Address,
    state: BackendState = BackendState.ACTIVE,
    weight: int = 1,
    **fields: Any,
) -> Backend:
    """One backend; its reason fits its state."""
    reason = {
        BackendState.ACTIVE: BackendReason.PASSING,
        BackendState.DRAINING: BackendReason.MANUAL_DRAIN,
        BackendState.DOWN: BackendReason.REFUSED,
    }[state]
    return Backend(
        key=BackendKey(key, node, address), state=state, reason=reason, weight=weight, **fields
    )


def make_frontend(
    listen: Address | Sequence[Address],
    backends: Sequence[Address | Backend],
    *,
    name: str = "web",
    balance: Balance = Balance.ROUND_ROBIN,
    **fields: Any,
) -> Frontend:
    """One frontend; backends given as addresses are active, on nodes n0, n1, ..."""
    key = frontend_key(name)
    return Frontend(
        key=key,
        node_port=30080,
        listen=(listen,) if isinstance(listen, Address) else tuple(listen),
        balance=balance,
        backends=tuple(
            b if isinstance(b, Backend) else make_backend(key, f"n{i}", b)
            for i, b in enumerate(backends)
        ),
        **fields,
    )


def make_plan(generation: int, *frontends: Frontend) -> Plan:
    """A plan of these frontends."""
    return Plan(generation=generation, frontends=tuple(sorted(frontends, key=lambda f: f.key)))
