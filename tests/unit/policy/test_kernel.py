"""Which frontends the kernel plane's fast path takes, and what keeps the others from it."""

from dataclasses import replace

import pytest

from nplb.dataplane.kernel.guards import render_guard
from nplb.dataplane.kernel.names import Names, identity
from nplb.model.kernel import KernelOptions, PlaneKind, Refusal
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.prefixes import PrefixFile
from nplb.model.relay import Leave, NoBackend, RelayOptions
from nplb.model.settings import FrontendSettings, Settings
from nplb.policy.kernel import asking_for_fast_path, fast_path_obstacle, plane_of, served_by
from tests.support.kernelplans import a_frontend

FILE = PrefixFile(path="clients.txt", digest="0", count=1, prefixes=((4, 0x0A000000, 8),))
FAST = KernelOptions(fast_path=True)


def asking(**options: object) -> Frontend:
    return a_frontend(kernel=FAST, relay=RelayOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frontend", "obstacle"),
    [
        (asking(), ""),
        (asking(on_leave=Leave.CLOSE, no_backend=NoBackend.UNBIND, spill_below=1.0), ""),
        (a_frontend(kernel=replace(FAST, refusal=Refusal.DROP, end_on_down=False)), ""),
        (a_frontend(kernel=FAST, protocol=Protocol.UDP), "UDP"),
        (a_frontend(kernel=replace(FAST, masquerade=False)), "kernel.masquerade"),
        (asking(affinity_seconds=60), "affinity"),
        (asking(source_ranges=("10.0.0.0/8",)), "source_ranges"),
        (asking(source_ranges_file=FILE), "source_ranges_file"),
        (asking(denied_ranges=("10.0.0.0/8",)), "denied_ranges"),
        (asking(denied_ranges_file=FILE), "denied_ranges_file"),
        (asking(service_ranges=("10.0.0.0/8",)), "loadBalancerSourceRanges"),
        (asking(client_rate=0.5), "limits.per_client_rate"),
        (asking(max_connections_per_client=1), "limits.per_client"),
        (asking(max_connections=1), "limits.connections"),
        (asking(max_connections=1, affinity_seconds=60), "affinity, limits.connections"),
    ],
)
def test_what_keeps_a_frontend_from_it(frontend: Frontend, obstacle: str) -> None:
    assert fast_path_obstacle(frontend) == obstacle
    shown = f"kernel (table: {obstacle})" if obstacle else "kernel (fast path)"
    assert served_by(frontend) == shown
    # Nobody is turned away there: what the table guards is left to it.
    for family in (4, 6):
        guard = render_guard(frontend, Names(identity(frontend.key), family), served=True)
        assert guard is None or obstacle


def test_it_is_named_only_where_it_is_asked_for() -> None:
    assert served_by(a_frontend()) == "kernel"
    assert served_by(replace(asking(), plane=PlaneKind.RELAY)) == "relay"


def test_entries_count_for_each_other_as_in_a_plan() -> None:
    one, whole, port = (
        FrontendSettings(service="shop/web", cluster="one", kernel=FAST),
        FrontendSettings(service="shop/web", plane=PlaneKind.KERNEL),
        FrontendSettings(service="shop/web", cluster="one", port="https", plane=PlaneKind.RELAY),
    )
    settings = Settings(clusters=(), frontends=(one, whole, port))
    planes = [plane_of(settings, entry) for entry in settings.frontends]
    assert planes == [PlaneKind.KERNEL, PlaneKind.KERNEL, PlaneKind.RELAY]
    assert dict(asking_for_fast_path(settings)) == {"frontends[0]": ()}
