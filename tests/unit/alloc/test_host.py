"""A stranger on an edge port is named; ephemeral ports that cross a range are told with the
sysctl that spares them."""

import pytest

from nplb.alloc.host import ephemeral_finding, in_use_findings, strangers
from nplb.alloc.portrange import DEFAULT_PORT_RANGE, PortRange
from nplb.model.finding import FindingKind
from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.ledger import EphemeralView, HostPortView

WEB = FrontendKey(ServiceKey("prod", "shop", "web"), 80)


def test_names_the_process_on_a_frontends_port() -> None:
    wanted = {Address("0.0.0.0", 30080): WEB}
    listeners = [
        HostPortView(address="0.0.0.0", port=30080, pid=7, command="nplb"),
        HostPortView(address="127.0.0.1", port=30080, pid=812, command="nginx"),
        HostPortView(address="::1", port=30080, pid=813, command="sixer"),
        HostPortView(address="127.0.0.1", port=30081, pid=814, command="other"),
    ]
    (finding,) = in_use_findings(wanted, strangers(wanted, listeners, {7}), 5.0)
    assert finding.kind is FindingKind.EDGE_PORT_IN_USE
    assert finding.subject == "prod/shop/web:80/TCP at 0.0.0.0:30080"
    assert finding.text == "0.0.0.0:30080 is in use by nginx (pid 812) at 127.0.0.1:30080"


def test_a_process_that_cant_be_seen_is_another_one() -> None:
    wanted = {Address("0.0.0.0", 80): WEB}
    unseen = [HostPortView(address="0.0.0.0", port=80)]
    (finding,) = in_use_findings(wanted, strangers(wanted, unseen, {7}), 5.0)
    assert finding.text == "0.0.0.0:80 is in use by another process at 0.0.0.0:80"


@pytest.mark.parametrize(
    ("low", "high", "reserved", "exposed"),
    [
        (32768, 60999, "", None),  # Linux' default
        (1024, 65535, "", "30000-32767"),
        (32000, 60999, "", "32000-32767"),
        (1024, 31000, "", "30000-31000"),
        (1024, 65535, "30000-32767", None),
        (1024, 65535, "22,30000-31000,31001-40000", None),
        (1024, 65535, "30000-31000,31002-32767", "30000-32767"),
        (1024, 65535, "8080", "30000-32767"),
    ],
)
def test_the_kernels_range_must_not_cross_the_frontends(
    low: int, high: int, reserved: str, exposed: str | None
) -> None:
    view = EphemeralView(low=low, high=high, reserved=reserved)
    finding = ephemeral_finding(view, [DEFAULT_PORT_RANGE], 1.0)
    if exposed is None:
        assert finding is None
        return
    assert finding is not None
    assert finding.kind is FindingKind.EPHEMERAL_OVERLAP
    assert f"among them {exposed}," in finding.text
    keep = f"{reserved}," if reserved else ""
    assert finding.remedy.startswith(
        f"sysctl -w net.ipv4.ip_local_reserved_ports={keep}30000-32767 "
    )


def test_several_ranges_are_one_sysctl() -> None:
    view = EphemeralView(low=1024, high=65535)
    spans = [DEFAULT_PORT_RANGE, PortRange(20000, 100), DEFAULT_PORT_RANGE]
    finding = ephemeral_finding(view, spans, 1.0)
    assert finding is not None
    assert "=20000-20099,30000-32767 " in finding.remedy


def test_nothing_to_tell_where_nothing_is_known() -> None:
    assert ephemeral_finding(None, [DEFAULT_PORT_RANGE], 1.0) is None
    assert ephemeral_finding(EphemeralView(low=1024, high=65535), [], 1.0) is None
