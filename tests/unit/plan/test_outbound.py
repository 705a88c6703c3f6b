"""What should be written into a cluster, of what a pass has made."""

from dataclasses import replace
from typing import Any

from nplb.model.applied import Applied, ListenError
from nplb.model.cluster import Ingress, IngressPort, Service, ServiceType
from nplb.model.keys import Address, FrontendKey, Protocol
from nplb.model.plan import Plan
from nplb.model.refusal import Refusal
from nplb.model.settings import (
    ClusterSettings,
    EdgePort,
    ListenSettings,
    Settings,
    WriteSettings,
)
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from nplb.plan.notices import notices
from nplb.plan.outbound import Served, ingress_writes
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot, a_verdict

CLUSTER = a_cluster(writes=WriteSettings(status=True, events=True, advertise=("192.0.2.7",)))
LISTEN = ListenSettings(addresses=("198.51.100.1",), load_balancer_port=EdgePort.SERVICE)
NOTHING_WRONG = Applied(generation=1)


def web(*ports: Any, **changes: Any) -> Service:
    given = {"load_balancer_class": "nplb.io/edge", "type": ServiceType.LOAD_BALANCER, "uid": "u"}
    ingress = changes.pop("ingress", ())
    return replace(a_service("web", *ports, **{**given, **changes}), ingress=ingress)


def busy(*keys: FrontendKey) -> Applied:
    error = ListenError(address=Address("198.51.100.1", 80), in_use=True, detail="nginx has it")
    return Applied(generation=1, listen_errors=dict.fromkeys(keys, (error,)))


class Pass:
    """One pass over some Services."""

    def __init__(
        self,
        *services: Service,
        cluster: ClusterSettings = CLUSTER,
        applied: Applied = NOTHING_WRONG,
        verdicts: tuple[Verdict, ...] = (),
        previous: Plan | None = None,
        now: float = 100.0,
    ) -> None:
        self.cluster = cluster
        self.snapshot = a_snapshot(services, [a_node(1)])
        settings = Settings(clusters=(cluster,), listen=LISTEN)
        by_address = {verdict.address: verdict for verdict in verdicts}
        snapshots = {"prod": self.snapshot}
        self.plan = make_plan(settings, snapshots, by_address, previous or Plan(), now)
        self.served = Served.of(self.plan, applied)
        self.now = now

    def ingress(self, **options: Any) -> dict[str, tuple[Ingress, ...]]:
        writes = ingress_writes(self.cluster, self.snapshot, self.served, **options)
        return {write.service.name: write.ingress for write in writes}

    def notices(self, now: float | None = None) -> list[tuple[str, str]]:
        at = self.now if now is None else now
        said = notices(self.cluster, self.snapshot, self.plan, self.served, at)
        return [(notice.reason, notice.text) for notice in said]


def an_ingress(ip: str, *ports: IngressPort) -> Ingress:
    return Ingress(ip=ip, ip_mode="Proxy", ports=ports or (IngressPort(port=80),))


def test_a_service_of_the_own_class_gets_what_is_advertised() -> None:
    assert Pass(web()).ingress() == {"web": (an_ingress("192.0.2.7"),)}


def test_without_advertised_addresses_it_is_where_the_edge_listens() -> None:
    cluster = replace(CLUSTER, writes=replace(CLUSTER.writes, advertise=()))
    assert Pass(web(), cluster=cluster).ingress() == {"web": (an_ingress("198.51.100.1"),)}


def test_a_dns_name_has_no_mode() -> None:
    cluster = replace(CLUSTER, writes=replace(CLUSTER.writes, advertise=("edge.example.org",)))
    [entry] = Pass(web(), cluster=cluster).ingress()["web"]
    assert (entry.hostname, entry.ip, entry.ip_mode) == ("edge.example.org", "", "")


def test_a_port_that_is_not_served_says_so_and_the_others_count() -> None:
    service = web(a_port(30080, 80, "http"), a_port(30053, 53, "dns", Protocol.UDP))
    [entry] = Pass(service).ingress()["web"]
    assert entry.ports == (
        IngressPort(port=80),
        IngressPort(port=53, protocol=Protocol.UDP, error="nplb.io/protocol"),
    )


def test_nothing_is_advertised_for_what_does_not_listen() -> None:
    service = web()
    key = FrontendKey(service.key, 80)
    assert Pass(service, applied=busy(key)).ingress() == {"web": ()}
    partly = web(a_port(30080, 80, "http"), a_port(30443, 443, "https"))
    [entry] = Pass(partly, applied=busy(key)).ingress()["web"]
    assert [port.error for port in entry.ports] == ["nplb.io/conflict", ""]


def test_a_service_without_a_node_keeps_its_address() -> None:
    down = a_verdict("192.0.2.1", healthy=False)
    assert Pass(web(), verdicts=(down,)).ingress()["web"]


def test_what_leaves_goes_and_what_is_anothers_stays() -> None:
    theirs, ours = Ingress(ip="203.0.113.1", ip_mode="VIP"), an_ingress("192.0.2.7")
    both = (theirs, ours)
    assert Pass(web(deleting=True, ingress=both)).ingress() == {"web": ()}
    assert Pass(web(ingress=both)).ingress() == {"web": (ours,)}, "of its class: all is the edge's"
    other = web(load_balancer_class="example.org/lb", ingress=both)
    assert Pass(other).ingress() == {"web": (theirs,)}
    unclassed = web(load_balancer_class=None, ingress=(theirs,))
    assert Pass(unclassed).ingress() == {}
    vip = web(load_balancer_class=None, ingress=(Ingress(ip="192.0.2.7", ip_mode="VIP"),))
    assert Pass(vip).ingress() == {}, "the same address, written by another"
    wanted = replace(CLUSTER, load_balancer_unclassed=True)
    assert Pass(unclassed, cluster=wanted).ingress() == {"web": (ours,)}
    elsewhere = replace(CLUSTER, namespaces=("shop",))
    assert Pass(web(ingress=(ours,)), cluster=elsewhere).ingress() == {"web": ()}


def test_the_end_takes_all_of_its_own_out() -> None:
    theirs, ours = Ingress(ip="203.0.113.1"), an_ingress("192.0.2.7")
    assert Pass(web(ingress=(ours,))).ingress(withdraw=True) == {"web": ()}
    other = web(load_balancer_class="example.org/lb", ingress=(theirs,))
    assert Pass(other).ingress(withdraw=True) == {}


def test_node_port_services_have_no_such_status() -> None:
    assert Pass(a_service()).ingress() == {}


def test_owners_are_told_of_a_conflict_with_both_names() -> None:
    old = a_service("old", a_port(30080), created=1.0)
    new = replace(web(created=2.0), key=a_service("new").key)
    taken = replace(new, ports=(a_port(30081, 30080),))
    [(reason, text)] = Pass(old, taken).notices()
    assert reason == "EdgePortConflict"
    assert "prod/default/old" in text
    assert "prod/default/new" in text


def test_owners_are_told_of_a_port_that_another_process_holds() -> None:
    service = web()
    [(reason, text)] = Pass(service, applied=busy(FrontendKey(service.key, 80))).notices()
    assert reason == "EdgePortInUse"
    assert "nginx has it" in text


def test_owners_are_told_of_no_node_once_it_lasts() -> None:
    down = a_verdict("192.0.2.1", healthy=False)
    made = Pass(web(), verdicts=(down,))
    assert made.notices(105.0) == []
    [(reason, text)] = made.notices(110.0)
    assert (reason, text) == ("NoUsableNode", "port 80/TCP has no node that works: timeout")
    up = Pass(web(), verdicts=(a_verdict("192.0.2.1"),))
    assert up.notices(1000.0) == []
    probing = Pass(web())
    assert probing.notices(1000.0) == [], "nothing is known yet"


def test_a_udp_port_matters_to_who_asks_for_the_edge_alone() -> None:
    dns = a_port(30053, 53, "dns", Protocol.UDP)
    assert Pass(a_service("dns", dns)).notices() == []
    [(reason, _)] = Pass(web(dns)).notices()
    assert reason == "ProtocolNotCarried"


def test_owners_are_told_of_a_refused_annotation() -> None:
    made = Pass(web(), verdicts=(a_verdict("192.0.2.1"),))
    refusal = Refusal(
        service=web().key, name="balance", value="x", why="it is none", instead="it stays"
    )
    made.plan = replace(made.plan, refusals=(refusal,))
    [(reason, text)] = made.notices()
    assert (reason, text) == ("AnnotationRefused", refusal.text)


def test_another_ones_service_is_another_ones_business() -> None:
    assert Pass(web(a_port(0), load_balancer_class="example.org/lb")).notices() == []
