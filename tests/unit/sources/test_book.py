"""The book: sorted snapshots, whole listings, and objects that are left out."""

from typing import Any

import pytest

from nplb.sources.book import MAX_WARNINGS, Book, Kind
from nplb.sources.decode import DecodeError


def service(name: str, namespace: str = "default", node_port: int = 30080) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]},
    }


def odd(name: str, namespace: str = "default") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"ports": 3}}


def names(book: Book) -> list[str]:
    return [s.key.short for s in book.snapshot(0.0).services]


def test_sorted_by_namespace_and_name() -> None:
    book = Book("prod")
    for namespace, name in (("b", "a"), ("a", "b"), ("a", "a"), ("a-b", "a")):
        assert book.put(Kind.SERVICE, service(name, namespace))
    assert names(book) == ["a/a", "a/b", "a-b/a", "b/a"]


def test_put_and_drop_say_whether_a_snapshot_would_show_it() -> None:
    book = Book("prod")
    assert book.put(Kind.SERVICE, service("web"))
    assert not book.put(Kind.SERVICE, service("web"))
    assert book.put(Kind.SERVICE, service("web", node_port=30081))
    assert book.drop(Kind.SERVICE, {"metadata": {"namespace": "default", "name": "web"}})
    assert not book.drop(Kind.SERVICE, service("web"))


def test_what_did_not_change_is_not_built_again() -> None:
    book = Book("prod")
    book.put(Kind.NODE, {"metadata": {"name": "a"}})
    first = book.snapshot(1.0)
    book.put(Kind.SERVICE, service("web"))
    second = book.snapshot(2.0)
    assert second.nodes is first.nodes
    assert (first.services, second.taken_at) == ((), 2.0)


def test_a_listing_replaces_its_scope_and_nothing_else() -> None:
    book = Book("prod")
    for namespace in ("a", "b"):
        for name in ("x", "y"):
            book.put(Kind.SERVICE, service(name, namespace))
    book.put(Kind.SERVICE, odd("o", "a"))
    book.put(Kind.SERVICE, odd("o", "b"))
    listing = book.listing(Kind.SERVICE, "a")
    listing.add(service("y", "a"))
    listing.add(service("z", "a"))
    assert names(book) == ["a/x", "a/y", "b/x", "b/y"]
    assert listing.commit()
    assert names(book) == ["a/y", "a/z", "b/x", "b/y"]
    assert [text.split(":")[0] for text in book.warnings] == ["Service b/o"]


def test_the_same_listing_again_changes_nothing() -> None:
    book = Book("prod")
    for expected in (True, False):
        listing = book.listing(Kind.SERVICE)
        listing.add(service("web"))
        assert listing.commit() is expected


def test_an_object_that_turns_odd_is_taken_out() -> None:
    book = Book("prod")
    book.put(Kind.SERVICE, service("web"))
    assert book.put(Kind.SERVICE, odd("web"))
    assert names(book) == []
    assert book.warnings == (
        "Service default/web: spec.ports: must be a list, not 3; left out until that is fixed",
    )
    assert book.drop(Kind.SERVICE, odd("web")) is False
    assert not book.warnings


def test_many_warnings_are_counted() -> None:
    book = Book("prod")
    for number in range(MAX_WARNINGS + 5):
        book.put(Kind.SERVICE, odd(f"s{number:03}"))
    assert len(book.warnings) == MAX_WARNINGS + 1
    assert book.warnings[-1] == "and 5 more objects like these"


@pytest.mark.parametrize("raw", [None, {}, {"metadata": {}}, {"metadata": {"name": ""}}])
def test_a_deleted_object_without_a_name_is_an_error(raw: object) -> None:
    with pytest.raises(DecodeError, match=r"metadata\.name: is missing"):
        Book("prod").drop(Kind.SERVICE, raw)
