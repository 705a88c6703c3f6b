"""The last good value of an annotation stays, for as long as it may."""

from dataclasses import replace

from nplb.control.annotations import AnnotationBook
from nplb.model.annotations import Wishes
from nplb.model.cluster import Service
from nplb.model.keys import FrontendKey
from nplb.model.plan import Plan
from nplb.model.reasons import Balance
from nplb.model.settings import AnnotationSettings, Settings
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_service, a_snapshot

SETTINGS = Settings(
    clusters=(a_cluster(),), annotations=AnnotationSettings(allow=("balance", "on-leave"))
)
STRICTER = replace(SETTINGS, annotations=AnnotationSettings())


def web(uid: str = "u1", **annotations: str) -> Service:
    given = {f"nplb.io/{name.replace('_', '-')}": text for name, text in annotations.items()}
    return a_service(annotations=given, uid=uid)


def read(book: AnnotationBook, *services: Service, settings: Settings = SETTINGS) -> Wishes:
    return book.read(settings, {"prod": a_snapshot(services)})


def balance(wishes: Wishes) -> Balance | None:
    [wish] = wishes.by_service.values()
    return wish.options.balance if wish.options is not None else None


def test_a_wrong_value_keeps_the_last_good_one_until_it_is_corrected() -> None:
    book = AnnotationBook()
    assert balance(read(book, web(balance="first"))) is Balance.FIRST
    wrong = read(book, web(balance="last", on_leave="close"))
    assert balance(wrong) is Balance.FIRST
    [refusal] = wrong.refusals
    assert "balance" in refusal.text
    assert "'last'" in refusal.text
    assert "its last good value 'first' stays" in refusal.text
    again = read(book, web(balance="also wrong"))
    assert balance(again) is Balance.FIRST, "also after a second one"
    right = read(book, web(balance="random"))
    assert (balance(right), right.refusals) == (Balance.RANDOM, ())


def test_one_that_is_removed_is_gone_and_its_last_good_value_with_it() -> None:
    book = AnnotationBook()
    read(book, web(balance="first"))
    assert read(book, web()).by_service == {}
    [refusal] = read(book, web(balance="last")).refusals
    assert "the edge's own configuration holds" in refusal.text


def test_a_service_made_anew_inherits_nothing() -> None:
    book = AnnotationBook()
    read(book, web(balance="first"))
    assert read(book, web(uid="u2", balance="last")).by_service == {}


def test_what_the_configuration_no_longer_allows_ends() -> None:
    book = AnnotationBook()
    service = web(balance="first")
    read(book, service)
    forbidden = read(book, service, settings=STRICTER)
    assert forbidden.by_service == {}
    assert len(forbidden.refusals) == 1
    assert balance(read(book, service)) is Balance.FIRST


def test_what_was_granted_outlives_a_restart() -> None:
    before = AnnotationBook()
    read(before, web(balance="first"))
    read(before, web(balance="last"))
    after = AnnotationBook()
    after.restore(before.grants)
    wishes = read(after, web(balance="last"))
    assert balance(wishes) is Balance.FIRST
    [refusal] = wishes.refusals
    assert "its last good value 'first' stays" in refusal.text
    after.restore(before.grants)
    assert read(after, web(uid="u2", balance="last")).by_service == {}, "it is another one"


def test_a_port_that_was_had_is_remembered_until_its_cluster_is_known() -> None:
    settings = replace(
        SETTINGS,
        clusters=(a_cluster(), a_cluster("other")),
        annotations=AnnotationSettings(allow=("edge-port",), ports=("8000-8999",)),
    )
    service = web(edge_port="8080")
    book = AnnotationBook()
    snapshots = {"prod": a_snapshot([service], [a_node()])}
    plan = make_plan(settings, snapshots, {}, Plan(), 1.0, wishes=book.read(settings, snapshots))
    book.note(plan.frontends)
    key = FrontendKey(service.key, 80)
    assert [grant.ports for grant in book.grants] == [{key: 8080}]

    after = AnnotationBook()
    after.restore(book.grants)
    other = {"other": a_snapshot(cluster="other")}
    assert after.read(settings, other).held == {key: 8080}
    assert after.grants == book.grants
    gone = {**other, "prod": a_snapshot()}
    assert after.read(settings, gone).held == {}
    assert after.grants == ()


def test_nothing_new_costs_nothing() -> None:
    book = AnnotationBook()
    snapshot = a_snapshot([web(balance="first")])
    first = book.read(SETTINGS, {"prod": snapshot})
    assert book.read(SETTINGS, {"prod": snapshot}) is first
    same = replace(snapshot, services=(*snapshot.services,))
    assert book.read(SETTINGS, {"prod": same}) is first
