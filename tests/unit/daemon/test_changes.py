"""A reload says what has changed, setting by setting."""

from dataclasses import replace
from pathlib import Path

from nplb.daemon.changes import changes
from nplb.daemon.watch import FileWatch
from nplb.model.keys import Address
from nplb.model.reasons import Balance
from nplb.model.settings import (
    AdminSettings,
    ClusterSettings,
    FrontendSettings,
    KubernetesSource,
    Settings,
)

CLUSTER = ClusterSettings(name="prod", source=KubernetesSource(kubeconfig=Path("/etc/kubeconfig")))
BEFORE = Settings(clusters=(CLUSTER,))


def test_nothing_has_changed() -> None:
    assert changes(BEFORE, replace(BEFORE)) == ()


def test_single_settings_with_their_place() -> None:
    after = replace(
        BEFORE,
        balance=Balance.MAGLEV,
        health=replace(BEFORE.health, interval_seconds=2.5, rise=3),
        admin=AdminSettings(listen=None),
        workers=4,
    )
    assert changes(BEFORE, after) == (
        "balance: least_connections → maglev",
        "health.interval_seconds: 5 → 2.5",
        f"health.rise: {BEFORE.health.rise} → 3",
        "workers: 1 → 4",
        "admin.listen: 127.0.0.1:9090 → none",
    )


def test_what_has_a_name_is_called_by_it() -> None:
    web = FrontendSettings(service="shop/web", port="https", listen=(Address("0.0.0.0", 443),))
    before = replace(BEFORE, frontends=(web, FrontendSettings(service="shop/api")))
    after = replace(
        before,
        clusters=(replace(CLUSTER, namespaces=("a", "b")), replace(CLUSTER, name="lab")),
        frontends=(replace(web, balance=Balance.FIRST), FrontendSettings(service="shop/new")),
    )
    assert changes(before, after) == (
        "clusters[prod].namespaces: [] → [a, b]",
        "clusters: lab added",
        "frontends: shop/api removed",
        "frontends[shop/web:https].balance: none → first",
        "frontends: shop/new added",
    )


def test_what_is_long_is_told_by_number() -> None:
    many = tuple(f"10.0.{n}.0/24" for n in range(200))
    after = replace(BEFORE, relay=replace(BEFORE.relay, source_ranges=many))
    assert changes(BEFORE, after) == ("relay.source_ranges: [] → 200 entries",)


def test_a_file_has_changed_once_it_has_settled(tmp_path: Path) -> None:
    path = tmp_path / "nplb.yaml"
    path.write_text("one")
    watch = FileWatch(path)
    assert not watch.changed()
    path.write_text("another")
    assert not watch.changed(), "whoever writes it may not be done"
    assert watch.changed()
    assert not watch.changed()
    new = tmp_path / "new"
    new.write_text("replaced")
    new.rename(path)
    watch.changed()
    assert watch.changed()
    path.unlink()
    assert not watch.changed()
    assert not watch.changed(), "a file that is gone is no new one"
