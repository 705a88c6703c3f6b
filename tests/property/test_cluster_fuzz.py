"""Whatever a cluster, its nodes or a manifest say: it is taken, left out with a reason, or ends in
an error of ours."""

import contextlib
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nplb.config.dump import dump
from nplb.health.probes.http import HttpRequest
from nplb.model.errors import NplbError
from nplb.sources.book import Book, Kind
from nplb.sources.decode import DecodeError, decode_node, decode_service, decode_slice
from nplb.sources.kubernetes.faults import ApiFault, Asked, fault_of_answer, fault_of_event
from nplb.sources.kubernetes.feed import Feed
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.resources import SERVICES, Scope
from nplb.sources.manifests.files import ManifestError
from nplb.sources.manifests.objects import read_objects
from nplb.sources.portfile import read_book
from tests.support.damage import ODD, damaged

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"nplb.io/balance": "first"},
    },
    "spec": {
        "type": "LoadBalancer",
        "clusterIPs": ["10.96.0.1"],
        "ipFamilies": ["IPv4"],
        "selector": {"app": "web"},
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32000,
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "loadBalancerClass": "nplb.io/edge",
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"}
        ],
    },
}
NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"nplb.io/weight": "2"}},
    "spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoExecute"}]},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "x"}],
    },
}
SLICE: dict[str, Any] = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "n", "conditions": {"ready": True}}],
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
}
OBJECTS = damaged(st.sampled_from([SERVICE, NODE, SLICE]), ODD, most=3) | ODD
DEEP = b"[" * 5000


@given(OBJECTS)
def test_any_object_is_decoded_or_refused(raw: Any) -> None:
    for decode in (lambda r: decode_service(r, cluster="c"), decode_node, decode_slice):
        with contextlib.suppress(DecodeError):
            decode(raw)


@given(st.lists(OBJECTS, max_size=5))
def test_any_listing_leaves_out_what_it_cannot_read(raws: list[Any]) -> None:
    book = Book("c")
    for kind in Kind:
        listing = book.listing(kind)
        for raw in raws:
            listing.add(raw)
        listing.commit()
    book.snapshot(1.0)
    assert all(book.warnings)


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.binary(max_size=30))
def test_any_manifest_is_objects_or_errors(raws: list[Any], tail: bytes) -> None:
    text = "".join(f"---\n{dump(raw)}" for raw in raws).encode("utf-8", "surrogatepass")
    for content in (text, text + tail, tail):
        with contextlib.suppress(ManifestError):
            read_objects([("m.yaml", content)], cluster="c")


class Listener:
    def feed_changed(self) -> None: ...

    def feed_stands(self) -> None: ...


ASKED = Asked(
    verb="watch",
    scope=Scope(resource=SERVICES),
    server="https://api",
    origin="kubeconfig",
    connect_seconds=1.0,
    silence_seconds=1.0,
)


class Stream:
    """As much of a watch as its events are read with."""

    asked = ASKED


def a_feed() -> Feed:
    return Feed(
        Scope(resource=SERVICES),
        sessions=None,  # type: ignore[arg-type]  # nothing is asked for
        book=Book("c"),
        listener=Listener(),
        pacing=Pacing(),
        rng=random.Random(1),
        now=lambda: 1.0,
    )


EVENTS = st.builds(
    lambda kind, raw: json.dumps({"type": kind, "object": raw}, default=str).encode(),
    st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "x", "", None]),
    OBJECTS,
)


@given(st.lists(EVENTS | st.binary(max_size=40) | st.just(DEEP), max_size=6))
def test_any_watch_stream_changes_the_book_or_is_a_fault(lines: list[bytes]) -> None:
    feed = a_feed()
    for line in lines:
        with contextlib.suppress(ApiFault):
            feed._take(Stream(), [line])  # type: ignore[arg-type]


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["Retry-After", "Content-Type"]), st.text(max_size=12)),
    st.binary(max_size=60) | ODD.map(lambda v: json.dumps(v, default=str).encode()) | st.just(DEEP),
)
def test_any_answer_is_a_fault_with_words(code: int, headers: dict[str, str], body: bytes) -> None:
    assert str(fault_of_answer(ASKED, code, headers, body))


@given(st.dictionaries(st.sampled_from(["code", "message", "details", "reason"]), ODD))
def test_any_error_event_is_a_fault_with_words(status: dict[str, Any]) -> None:
    assert str(fault_of_event(ASKED, status))


ANSWERS = st.lists(
    st.binary(max_size=60)
    | st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"Content-Length: 9999\r\n",
            b"Content-Length: -1\r\n",
            b"X-Load-Balancing-Endpoint-Weight: \xb2\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b'{"localEndpoints": ',
            b'"localEndpoints"' + DEEP[:3000],
        ]
    ),
    max_size=8,
)


@given(ANSWERS)
def test_any_answer_to_a_probe_is_judged(pieces: list[bytes]) -> None:
    probe = HttpRequest(method="GET", path="/", host="n", status=[(200, 299)])
    probe.begin()
    for piece in pieces:
        if probe.result is None:
            probe.receive(piece)
    if probe.result is None:
        probe.end()
    assert probe.result is not None
    assert probe.result.weight is None or probe.result.weight >= 0


@given(st.binary(max_size=80) | ODD.map(lambda v: json.dumps(v, default=str).encode()))
def test_any_state_file_is_read_or_set_aside(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ports.json"
        path.write_bytes(content)
        with contextlib.suppress(NplbError):
            assert read_book(path) == []
