"""Which addresses a frontend may have on this edge, and why it may not have others."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nplb.dataplane.kernel.host import FORWARDING6, Host, examine
from nplb.dataplane.kernel.serving import V6, family_of
from nplb.dataplane.kernel.sockets import Holder, conflict, holders
from nplb.model.applied import ListenError, no_interface
from nplb.model.keys import Address, FrontendKey, Protocol
from nplb.model.plan import Frontend
from nplb.policy.kernel import unsupported

Holders = Mapping[tuple[Protocol, int], Sequence[Holder]]


async def admit(
    frontends: Iterable[Frontend], served: Iterable[Frontend]
) -> tuple[dict[FrontendKey, tuple[ListenError, ...]], list[Frontend]]:
    """Why some may not have addresses that they ask for, and frontends with those that they may.
    `served` are those that have theirs already."""
    errors: dict[FrontendKey, tuple[ListenError, ...]] = {}
    admitted: list[Frontend] = []
    had = {f.key: f.listen for f in served}
    edge = None
    for frontend in frontends:
        wrong = unsupported(frontend)
        if wrong:
            detail = "; ".join(str(each) for each in wrong)
            errors[frontend.key] = tuple(
                ListenError(address=a, in_use=False, detail=detail) for a in frontend.listen
            )
            continue
        entering = [a for a in frontend.listen if a not in had.get(frontend.key, ())]
        lacking: list[ListenError] = []
        if entering:
            if edge is None:
                edge = await asyncio.to_thread(_look_at_edge)
            found = (_in_the_way(frontend, address, *edge) for address in entering)
            lacking = [error for error in found if error is not None]
        if lacking:
            errors[frontend.key] = tuple(lacking)
            lost = {error.address for error in lacking}
            frontend = replace(frontend, listen=tuple(a for a in frontend.listen if a not in lost))
            if not frontend.listen:
                continue
        admitted.append(frontend)
    return errors, admitted


def _look_at_edge() -> tuple[Holders, Host]:
    return holders(), examine()


def _in_the_way(
    frontend: Frontend, address: Address, held: Holders, host: Host
) -> ListenError | None:
    """Why an address can't be served; None if it can."""
    if address.ip.startswith("%"):
        return no_interface(address)
    others = held.get((frontend.key.protocol, address.port), ())
    other = next((h for h in others if conflict(h, address)), None)
    if other is not None:
        detail = (
            f"another process listens on {other.address}: stop it, or give this frontend another "
            "listen address"
        )
        return ListenError(address=address, in_use=True, detail=detail)
    if family_of(address.ip) == V6 and not host.forwarding6:
        detail = f"the kernel plane lacks {FORWARDING6}"
        return ListenError(address=address, in_use=False, detail=detail)
    return None
