"""Annotations of Services: read as the file's own keys are, and refused in words that help."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nplb.config.annotationkeys import NAMES
from nplb.config.annotations import AnnotationReader, annotated
from nplb.model.kernel import PlaneKind
from nplb.model.keys import FrontendKey
from nplb.model.plan import Timeouts
from nplb.model.reasons import Balance
from nplb.model.relay import Leave, NoBackend, RelayOptions, SendProxy
from nplb.model.settings import AnnotationSettings, FrontendSettings, Settings
from tests.support.builders import a_cluster, a_port, a_service

WEB = a_service("web", namespace="shop")
TWO = a_service("two", a_port(30080, 80, "http"), a_port(30443, 443, "https"))


def a_reader(
    *, allow: tuple[str, ...] = NAMES, ports: tuple[str, ...] = ("443", "8000-8999"), **keys: Any
) -> AnnotationReader:
    annotations = AnnotationSettings(allow=allow, ports=ports)
    return AnnotationReader(Settings(clusters=(a_cluster(),), annotations=annotations, **keys))


def test_nothing_about_the_host_can_be_annotated() -> None:
    own = ("listen", "plane", "kernel", "source-addresses", "service")
    assert not [name for name in NAMES if name.startswith(own) or "file" in name]


def test_only_the_prefix_counts_and_it_is_taken_off() -> None:
    service = a_service(annotations={"nplb.io/balance": "first", "example.org/balance": "x"})
    assert annotated(service) == {"balance": "first"}


def test_every_kind_of_value() -> None:
    reading = a_reader(timeouts=Timeouts(connect=7.0)).read(
        WEB,
        {
            "balance": "maglev",
            "timeouts.idle": "5m",
            "timeouts.drain": "90s",
            "on-leave": "drain",
            "no-backend": "hold",
            "send-proxy": "v2",
            "source-ranges": "10.0.0.0/8, 2001:db8::/32",
            "affinity": "off",
            "limits.per-client": "10",
            "connect-attempts": "5",
            "access-log": "true",
        },
    )
    assert not reading.refused
    options = reading.wish.options
    assert options is not None
    assert (options.balance, options.connect_attempts) == (Balance.MAGLEV, 5)
    assert options.timeouts == Timeouts(connect=7.0, idle=300.0)
    assert options.relay == RelayOptions(
        drain_seconds=90.0,
        on_leave=Leave.DRAIN,
        no_backend=NoBackend.HOLD,
        send_proxy=SendProxy.V2,
        source_ranges=("10.0.0.0/8", "2001:db8::/32"),
        max_connections_per_client=10,
        access_log=True,
    )
    assert "idle" in options.given
    assert "connect" not in options.given


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("balance", "most", "must be round_robin, least_connections"),
        ("balance", "magelv", 'did you mean "maglev"?'),
        ("timeouts.idle", "300", "write 300s or 300ms"),
        ("timeouts.idle", "1ms", "must be from 1s to 30d, not 1ms"),
        ("source-ranges", "10.0.0.1/8", "write 10.0.0.0/8"),
        ("source-ranges", "10.0.0.0/8,everybody", '"everybody" is not a CIDR'),
        ("access-log", "yes", "must be true or false"),
        ("limits.per-client", "0", "must be off, or from 1"),
        ("connect-attempts", "", "must be a whole number from 1 to 16, not nothing"),
        ("connect-attempts", "9" * 500, "must be a whole number from 1 to 16"),
        ("ballance", "first", "did you mean nplb.io/balance?"),
        ("weight", "3", "this is an annotation for Nodes"),
        ("plane", "kernel", "there is no such annotation"),
    ],
)
def test_a_wrong_one_says_what_is_allowed(name: str, text: str, why: str) -> None:
    reading = a_reader().read(WEB, {name: text, "on-leave": "close"})
    assert why in reading.refused[name]
    options = reading.wish.options
    assert options is not None, "the others hold"
    assert options.relay is not None
    assert options.relay.on_leave is Leave.CLOSE


def test_the_file_decides_which_are_honoured() -> None:
    texts = {"timeouts.idle": "5m", "balance": "first", "edge-port": "443"}
    reading = a_reader(allow=("timeouts",)).read(WEB, texts)
    assert set(reading.refused) == reading.forbidden == {"balance", "edge-port"}
    assert "annotations.allow) allows timeouts" in reading.refused["balance"]
    assert reading.wish.options is not None
    assert reading.wish.options.timeouts is not None
    assert reading.wish.options.timeouts.idle == 300.0
    nothing = a_reader(allow=()).read(WEB, texts)
    assert "allows nothing" in nothing.refused["balance"]
    assert nothing.wish.options is None


def test_edge_ports_for_one_port_and_for_several() -> None:
    one = a_reader().read(WEB, {"edge-port": "443"})
    assert one.wish.ports == {FrontendKey(WEB.key, 80): 443}
    two = a_reader().read(TWO, {"edge-port": "http=8080, 443=8443"})
    assert two.wish.ports == {FrontendKey(TWO.key, 80): 8080, FrontendKey(TWO.key, 443): 8443}
    some = a_reader().read(TWO, {"edge-port": "https=443"})
    assert some.wish.ports == {FrontendKey(TWO.key, 443): 443}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http=22", "(annotations.ports) are: 443, 8000-8999"),
        ("http=web", '"web" is not a port'),
        ("http=70000", "a number from 1 to 65535"),
        ("443,444", "the Service has 2 ports, write http=NUMBER,https=NUMBER"),
        ("smtp=443", 'has no port "smtp", it has "http" or "https"'),
        ("http=8080,http=8081", "names the port http twice"),
        ("http=8080,https=8080", "two ports of the Service the same one"),
    ],
)
def test_a_wrong_edge_port(text: str, why: str) -> None:
    reading = a_reader().read(TWO, {"edge-port": text})
    assert why in reading.refused["edge-port"]
    assert not reading.wish.ports


def test_what_the_kernel_plane_cannot_do_is_refused_there_alone() -> None:
    texts = {"send-proxy": "v2", "balance": "least_connections", "source-ranges": "10.0.0.0/8"}
    reader = a_reader(frontends=(FrontendSettings(service="shop/web", plane=PlaneKind.KERNEL),))
    reading = reader.read(WEB, texts)
    assert set(reading.refused) == {"send-proxy", "balance"}
    assert "never sees a connection's bytes" in reading.refused["send-proxy"]
    options = reading.wish.options
    assert options is not None
    assert options.relay is not None
    assert options.relay.source_ranges == ("10.0.0.0/8",)
    assert options.relay.send_proxy is SendProxy.NONE
    assert not reader.read(a_service("other", namespace="shop"), texts).refused


@given(st.dictionaries(st.sampled_from((*NAMES, "x")), st.text(max_size=40), max_size=4))
def test_whatever_stands_there_is_read_or_refused(texts: dict[str, str]) -> None:
    reader = a_reader()
    reading = reader.read(TWO, texts)
    good = {name: text for name, text in texts.items() if name not in reading.refused}
    again = reader.read(TWO, good)
    assert not again.refused
    assert again.wish == reading.wish


def test_whom_the_file_admits_in_general_no_service_admits_otherwise() -> None:
    texts = {"source-ranges": "192.0.2.7/32", "denied-ranges": "off", "balance": "first"}
    assert not a_reader().read(WEB, texts).refused
    denying = a_reader(relay=RelayOptions(denied_ranges=("192.0.2.0/24",)))
    reading = denying.read(WEB, texts)
    assert set(reading.refused) == {"source-ranges", "denied-ranges"}
    assert "says which clients are admitted, in general" in reading.refused["source-ranges"]


def test_no_annotation_names_a_file_of_the_edge() -> None:
    assert not [name for name in NAMES if "file" in name]
