"""Lists in pages, at past revisions, and the words of their refusal."""

import pytest

from nplb.lab.api.errors import ApiError
from nplb.lab.api.listing import ListOptions, Page, list_options, list_page, parse_revision
from nplb.lab.api.selectors import ObjectSelector, parse_selectors
from nplb.lab.api.store import Store


def _store(*names: str) -> Store:
    store = Store()
    for name in names:
        labels = {"even": str(len(name) % 2 == 0).lower()}
        metadata = {"name": name, "namespace": "default", "labels": labels}
        store.put("services", {"kind": "Service", "apiVersion": "v1", "metadata": metadata})
    return store


def _page(store: Store, options: ListOptions) -> Page:
    return list_page(store, "services", None, ObjectSelector(), options)


def _walk(store: Store, limit: int) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        page = _page(store, ListOptions(limit=limit, token=token))
        names += [record.name for record in page.records]
        token = page.token
        if not token:
            return names


def test_pages_are_of_the_moment_of_the_first_one() -> None:
    store = _store("a", "c", "e", "g")
    first = _page(store, ListOptions(limit=2))
    assert [record.name for record in first.records] == ["a", "c"]
    assert first.remaining == 2
    for name in ("b", "d"):
        metadata = {"name": name, "namespace": "default"}
        store.put("services", {"kind": "Service", "apiVersion": "v1", "metadata": metadata})
    gone = store.record("services", "g", "default")
    assert gone is not None
    store.remove("services", gone)
    rest = _page(store, ListOptions(token=first.token))
    assert [record.name for record in rest.records] == ["e", "g"]
    assert rest.revision == first.revision
    assert _walk(store, 2) == ["a", "b", "c", "d", "e"]


def test_the_number_that_remains_is_not_told_with_a_selector() -> None:
    store = _store("a", "bb", "cc", "dd")
    selector = parse_selectors("services", "even=true", "")
    page = list_page(store, "services", None, selector, ListOptions(limit=2))
    assert [record.name for record in page.records] == ["bb", "cc"]
    assert page.token
    assert page.remaining is None


def test_a_token_from_before_a_restart_is_expired_and_offers_to_go_on_inconsistently() -> None:
    store = _store("a", "b", "c")
    first = _page(store, ListOptions(limit=1))
    store.forget()
    with pytest.raises(ApiError) as caught:
        _page(store, ListOptions(token=first.token))
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    token = caught.value.status["metadata"]["continue"]
    rest = _page(store, ListOptions(token=token))
    assert [record.name for record in rest.records] == ["b", "c"]
    assert rest.revision == store.revision


def test_a_past_revision_exactly() -> None:
    store = _store("a", "b", "c")
    revision = str(store.revision - 1)
    exact = ListOptions(resource_version=revision, match="Exact")
    page = _page(store, exact)
    assert [record.name for record in page.records] == ["a", "b"]
    assert page.revision == int(revision)
    # With a limit and no match the version is meant exactly as well.
    legacy = ListOptions(resource_version=revision, limit=5)
    assert len(_page(store, legacy).records) == 2
    newer = ListOptions(resource_version=revision, match="NotOlderThan")
    assert len(_page(store, newer).records) == 3


def test_a_compacted_revision_is_expired() -> None:
    store = Store(cache_size=2)
    for number in range(20):
        metadata = {"name": f"n{number}", "namespace": "default"}
        store.put("services", {"kind": "Service", "apiVersion": "v1", "metadata": metadata})
    with pytest.raises(ApiError) as caught:
        _page(store, ListOptions(resource_version="2", match="Exact"))
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("garbage", "invalid character '\\u0081' looking for beginning of value"),
        ("!!!", "illegal base64 data at input byte 0"),
        ("eyJ2IjoidjkifQ", 'server does not recognize this encoded version "v9"'),
        ("W10", "json: cannot unmarshal into a token"),
    ],
)
def test_tokens_that_are_none(token: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        _page(_store("a"), ListOptions(token=token))
    text = f"invalid continue token: continue key is not valid: {message}"
    assert (caught.value.code, caught.value.status["message"]) == (400, text)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "x"}, 400),
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422),
        ({"resourceVersionMatch": "Newest", "resourceVersion": "1"}, 422),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "5", "continue": "x"}, 422),
    ],
)
def test_options_that_do_not_go_together(query: dict[str, str], code: int) -> None:
    with pytest.raises(ApiError) as caught:
        list_options(query)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["-1", "1.5", "0x1", "\uff11", "", str(2**64)])
def test_revisions_are_read_as_go_reads_them(text: str) -> None:
    with pytest.raises(ValueError, match="ParseUint"):
        parse_revision(text)
