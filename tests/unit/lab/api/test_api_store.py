"""Objects, revisions, the log of changes and who is told of them."""

from typing import Any

import pytest

from nplb.lab.api.store import Store, TooOldError


def _object(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"kind": "Thing", "apiVersion": "v1", "metadata": metadata, **more}


def _names(store: Store, revision: int) -> list[str]:
    return [record.name for record in store.records_at("things", revision)]


def test_one_revision_counts_every_change_of_every_kind() -> None:
    store = Store()
    first = store.put("things", _object("a"))
    second = store.put("others", _object("a"))
    third = store.remove("things", first)
    assert first.revision < second.revision < third.revision == store.revision
    assert third.object["metadata"]["resourceVersion"] == str(store.revision)


def test_what_is_read_is_a_copy() -> None:
    store = Store()
    store.put("things", _object("a", labels={}))
    read = store.get("things", "a")
    assert read is not None
    read["metadata"]["name"] = "changed"
    assert store.list("things")[0]["metadata"]["name"] == "a"
    assert store.get("things", "b") is None


def test_lists_are_in_the_order_of_etcd() -> None:
    store = Store()
    for space, name in (("a", "x"), ("a-b", "x"), ("a", "b"), ("b", "a")):
        store.put("things", _object(name, space))
    keys = [record.key for record in store.records("things")]
    assert keys == [("a-b", "x"), ("a", "b"), ("a", "x"), ("b", "a")]
    assert [record.name for record in store.records("things", "a")] == ["b", "x"]


def test_the_past_can_be_told_until_it_is_compacted() -> None:
    store = Store(cache_size=4)
    one = store.put("things", _object("a")).revision
    two = store.put("things", _object("b")).revision
    record = store.record("things", "a", "")
    assert record is not None
    three = store.remove("things", record).revision
    assert _names(store, one) == ["a"]
    assert _names(store, two) == ["a", "b"]
    assert _names(store, three) == ["b"]
    for _ in range(20):
        store.put("things", _object("b"))
    with pytest.raises(TooOldError):
        store.records_at("things", one)


def test_a_watch_can_go_back_as_far_as_the_cache() -> None:
    store = Store(cache_size=3)
    revisions = [store.put("things", _object(name)).revision for name in "abcde"]
    assert [change.record.name for change in store.changes("things", revisions[1])] == list("cde")
    with pytest.raises(TooOldError) as caught:
        store.changes("things", revisions[0])
    assert caught.value.oldest == revisions[1]


def test_other_kinds_do_not_push_changes_out_of_the_cache() -> None:
    store = Store(cache_size=3)
    start = store.put("things", _object("a")).revision
    for _ in range(50):
        store.put("others", _object("x"))
    store.put("things", _object("b"))
    assert [change.record.name for change in store.changes("things", start)] == ["b"]


def test_after_a_restart_every_earlier_revision_is_too_old() -> None:
    store = Store()
    before = store.put("things", _object("a")).revision
    store.forget()
    with pytest.raises(TooOldError):
        store.changes("things", before)
    with pytest.raises(TooOldError):
        store.changes("never-seen", before)
    assert store.changes("things", store.revision) == []
    assert [record.name for record in store.records("things")] == ["a"]


def test_subscribers_get_what_exists_and_then_every_change_in_order() -> None:
    store = Store()
    store.put("things", _object("a"))
    seen: list[tuple[str, str]] = []
    stop = store.subscribe("things", lambda type_, o: seen.append((type_, o["metadata"]["name"])))
    record = store.put("things", _object("b"))
    store.put("things", _object("b", data=1))
    store.remove("things", record)
    stop()
    store.put("things", _object("c"))
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]


def test_writes_made_by_a_subscriber_are_told_after_the_one_under_way() -> None:
    store = Store()
    seen: list[tuple[str, str]] = []

    def chain(_type: str, object_: dict[str, Any]) -> None:
        if object_["metadata"]["name"] == "a":
            store.put("things", _object("b"))

    store.subscribe("things", chain)
    store.subscribe("things", lambda type_, o: seen.append((type_, o["metadata"]["name"])))
    store.put("things", _object("a"))
    assert seen == [("ADDED", "a"), ("ADDED", "b")]


def test_a_subscriber_that_fails_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    seen: list[str] = []

    def fail(_type: str, _object: dict[str, Any]) -> None:
        raise RuntimeError("broken")

    store.subscribe("things", fail)
    store.subscribe("things", lambda _type, o: seen.append(o["metadata"]["name"]))
    store.put("things", _object("a"))
    assert seen == ["a"]
    assert "broken" in caplog.text


def test_a_waker_is_not_told_of_what_exists() -> None:
    store = Store()
    store.put("things", _object("a"))
    calls: list[None] = []
    stop = store.on_change("things", lambda: calls.append(None))
    assert not calls
    store.put("things", _object("b"))
    store.put("others", _object("b"))
    stop()
    store.put("things", _object("c"))
    assert len(calls) == 1
