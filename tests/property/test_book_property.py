"""Any sequence of creates, updates, deletes and lists ends with snapshot == list."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nplb.sources.book import Book, Kind
from nplb.sources.decode import decode_service

NAMES = st.sampled_from(["a", "b", "c", "d"])
NAMESPACES = st.sampled_from(["a", "a-b", "b"])
NUMBERS = st.integers(30000, 30003)

Key = tuple[str, str]


def raw_service(key: Key, number: int) -> dict[str, Any]:
    ports = [{"port": 80, "nodePort": number}]
    metadata = {"namespace": key[0], "name": key[1]}
    return {"metadata": metadata, "spec": {"type": "NodePort", "ports": ports}}


class BookMachine(RuleBasedStateMachine):
    """A cluster as a dict, and the book that hears of its changes, sometimes late: a list
    catches up with everything missed in its scope."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster: dict[Key, int] = {}
        self.known: dict[Key, int] = {}
        self.odd: set[Key] = set()
        self.book = Book("prod")

    @rule(namespace=NAMESPACES, name=NAMES, number=NUMBERS, heard=st.booleans())
    def write(self, namespace: str, name: str, number: int, heard: bool) -> None:
        key = namespace, name
        self.cluster[key] = number
        if heard:
            before = self.known.get(key)
            changed = self.book.put(Kind.SERVICE, raw_service(key, number))
            assert changed is (before != number)
            self.known[key] = number
            self.odd.discard(key)

    @rule(namespace=NAMESPACES, name=NAMES, heard=st.booleans())
    def delete(self, namespace: str, name: str, heard: bool) -> None:
        key = namespace, name
        self.cluster.pop(key, None)
        if heard:
            changed = self.book.drop(Kind.SERVICE, raw_service(key, 1))
            assert changed is (self.known.pop(key, None) is not None)
            self.odd.discard(key)

    @rule(namespace=NAMESPACES, name=NAMES)
    def turn_odd(self, namespace: str, name: str) -> None:
        key = namespace, name
        self.cluster.pop(key, None)
        raw = {"metadata": {"namespace": namespace, "name": name}, "spec": {"ports": "odd"}}
        self.book.put(Kind.SERVICE, raw)
        self.known.pop(key, None)
        self.odd.add(key)

    @rule(scope=st.none() | NAMESPACES)
    def list_scope(self, scope: str | None) -> None:
        listing = self.book.listing(Kind.SERVICE, scope)
        for key, number in self.cluster.items():
            if scope is None or key[0] == scope:
                listing.add(raw_service(key, number))
        listing.commit()

        def inside(key: Key) -> bool:
            return scope is None or key[0] == scope

        kept = {key: number for key, number in self.known.items() if not inside(key)}
        fresh = {key: number for key, number in self.cluster.items() if inside(key)}
        self.known = {**kept, **fresh}
        self.odd = {key for key in self.odd if not inside(key)}

    @invariant()
    def the_snapshot_is_what_is_known(self) -> None:
        wanted = tuple(
            decode_service(raw_service(key, number), cluster="prod")
            for key, number in sorted(self.known.items())
        )
        assert self.book.snapshot(0.0).services == wanted
        assert len(self.book.warnings) == len(self.odd)

    def teardown(self) -> None:
        self.list_scope(None)
        assert self.known == self.cluster
        self.the_snapshot_is_what_is_known()


BookMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBook = BookMachine.TestCase
