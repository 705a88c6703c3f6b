"""Lists: whole, in pages, at a past revision, by selectors.

Mirrors `apiserver/pkg/storage/etcd3/store.go` (GetList), `apiserver/pkg/storage/continue.go` and
the validation of ListOptions.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nplb.lab.api import errors
from nplb.lab.api.errors import ApiError, FieldError, forbidden_field, not_supported
from nplb.lab.api.jsontext import JsonError, loads
from nplb.lab.api.selectors import ObjectSelector
from nplb.lab.api.store import Record, Store, TooOldError

_CONTINUE_VERSION = "meta.k8s.io/v1"
_INCONSISTENT = -1
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The query of a list. `limit` 0 is no limit; `resource_version` empty is the latest."""

    limit: int = 0
    token: str = ""
    resource_version: str = ""
    match: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page. `token` is empty on the last one; `remaining` is None when it is not known."""

    records: Sequence[Record]
    revision: int
    token: str = ""
    remaining: int | None = None


def list_options(query: Mapping[str, str]) -> ListOptions:
    """The options of a list request. Raises ApiError."""
    options = ListOptions(
        limit=_integer(query, "limit"),
        token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
    )
    _validate(options)
    return options


def _integer(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    try:
        return int(text) if text else 0
    except ValueError as error:
        detail = f'strconv.ParseInt: parsing "{text}": invalid syntax'
        raise errors.bad_request(f"unable to decode query: {name}: {detail}") from error


def _validate(options: ListOptions) -> None:
    """`ValidateListOptions`."""
    found: list[FieldError] = []
    if options.match:
        place = "resourceVersionMatch"
        if options.token:
            detail = "resourceVersionMatch is forbidden when continue is provided"
            found.append(forbidden_field(place, detail))
        if not options.resource_version:
            detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            found.append(forbidden_field(place, detail))
        if options.match not in ("Exact", "NotOlderThan"):
            found.append(not_supported(place, options.match, ("Exact", "NotOlderThan", "")))
        if options.match == "Exact" and options.resource_version == "0":
            detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            found.append(forbidden_field(place, detail))
    if found:
        raise errors.invalid("ListOptions", "", found, "meta.k8s.io")


def parse_revision(text: str) -> int:
    """A resourceVersion as a number. Raises ValueError with the API server's text."""
    if text.isascii() and text.isdigit() and int(text) < 2**64:
        return int(text)
    problem = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
    quoted = errors.go_value(text)
    raise ValueError(
        f"resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: {problem}"
    )


def list_page(
    store: Store,
    resource: str,
    namespace: str | None,
    selector: ObjectSelector,
    options: ListOptions,
) -> Page:
    """One page of a list; `namespace` None is all of them. Raises ApiError."""
    limit, start = options.limit, ""
    if options.token:
        revision, start = _decode_token(options.token)
        if options.resource_version not in ("", "0"):
            detail = "specifying resource version is not allowed when using continue"
            raise errors.bad_request(detail)
        if revision == _INCONSISTENT:
            revision = store.revision
        records = _records_for_token(store, resource, namespace, revision, start)
    elif options.resource_version:
        try:
            asked = parse_revision(options.resource_version)
        except ValueError as error:
            raise errors.bad_request(f"invalid resource version: {error}") from error
        if asked > store.revision:
            raise errors.too_large_resource_version(asked, store.revision)
        # With a limit and no match, a version is meant exactly, for old clients' sake.
        is_exact = options.match == "Exact" or (bool(limit) and asked != 0 and not options.match)
        if asked == 0:
            limit = 0  # answered from the watch cache, which does not page
        revision = asked if is_exact else store.revision
        records = _records_exactly(store, resource, namespace, revision)
    else:
        revision = store.revision
        records = store.records(resource, namespace)
    return _page(records, revision, namespace, selector, limit, start)


def _page(
    records: Sequence[Record],
    revision: int,
    namespace: str | None,
    selector: ObjectSelector,
    limit: int,
    start: str,
) -> Page:
    if start:
        records = [record for record in records if _key(record, namespace) >= start]
    if not selector.is_empty:
        records = [record for record in records if selector.matches(record.object)]
    if limit <= 0 or len(records) <= limit:
        return Page(records=records, revision=revision)
    shown = records[:limit]
    return Page(
        records=shown,
        revision=revision,
        token=_encode_token(revision, _key(shown[-1], namespace) + "\0"),
        remaining=len(records) - limit if selector.is_empty else None,
    )


def _records_exactly(
    store: Store, resource: str, namespace: str | None, revision: int
) -> Sequence[Record]:
    try:
        return store.records_at(resource, revision, namespace)
    except TooOldError as error:
        detail = f"The resourceVersion for the provided list is too old: {revision}"
        raise errors.expired(detail) from error


def _records_for_token(
    store: Store, resource: str, namespace: str | None, revision: int, start: str
) -> Sequence[Record]:
    try:
        if revision < store.token_floor:
            raise TooOldError(store.token_floor)
        return store.records_at(resource, revision, namespace)
    except TooOldError as error:
        token = _encode_token(_INCONSISTENT, start)
        raise errors.expired(_TOO_OLD, continue_token=token) from error


def _key(record: Record, namespace: str | None) -> str:
    """A record's place in the list, below the prefix of what is listed."""
    if namespace is not None or not record.namespace:
        return f"/{record.name}"
    return f"/{record.namespace}/{record.name}"


def _encode_token(revision: int, start: str) -> str:
    token = {"v": _CONTINUE_VERSION, "rv": revision, "start": start}
    raw = json.dumps(token, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode_token(text: str) -> tuple[int, str]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_token("illegal base64 data at input byte 0") from error
    try:
        token: Any = loads(raw)
    except JsonError as error:
        raise _bad_token(str(error)) from error
    if not isinstance(token, dict):
        raise _bad_token("json: cannot unmarshal into a token")
    if token.get("v") != _CONTINUE_VERSION:
        detail = f"server does not recognize this encoded version {errors.go_value(token.get('v'))}"
        raise _bad_token(detail)
    revision, start = token.get("rv"), token.get("start")
    if not isinstance(revision, int) or not isinstance(start, str) or not start.startswith("/"):
        raise _bad_token(
            f"incorrect encoded start resourceVersion {revision} ({_CONTINUE_VERSION})"
        )
    return revision, start


def _bad_token(detail: str) -> ApiError:
    return errors.bad_request(f"invalid continue token: continue key is not valid: {detail}")
