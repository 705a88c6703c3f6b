"""A team that may write its own Services, and means harm: what comes of it in the plan."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nplb.config.annotationkeys import NAMES
from nplb.config.annotations import AnnotationReader, annotated
from nplb.model.annotations import Wishes
from nplb.model.cluster import Service
from nplb.model.plan import Frontend, Plan
from nplb.model.settings import AnnotationSettings, Settings
from nplb.plan.make import make_plan
from nplb.sources.decode import DecodeError, decode_service
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot

SETTINGS = Settings(
    clusters=(a_cluster(),),
    annotations=AnnotationSettings(allow=NAMES, ports=("80-90", "30080")),
    frontends_per_namespace=3,
)
NODES = [a_node(1), a_node(2)]
NODE_IPS = {"192.0.2.1", "192.0.2.2"}
OTHERS = (
    a_service("web", a_port(30080, 80), namespace="calm", created=500.0),
    a_service("api", a_port(30081, 81), namespace="calm", created=501.0),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["80", "30080", "30081", "0.0.0.0/0", "127.0.0.1", "off", "1", "999999999", "maglev", "5s",
         "<script>", "http=80,x=81", "../../etc/passwd", "169.254.169.254:80"]
    ),
)  # fmt: skip
PORTS = st.fixed_dictionaries(
    {"port": st.integers(1, 65535), "nodePort": st.integers(30000, 32767)},
    optional={"name": TEXTS, "protocol": st.sampled_from(["TCP", "UDP"]), "targetPort": TEXTS},
)
SERVICES = st.fixed_dictionaries(
    {
        "apiVersion": st.just("v1"),
        "kind": st.just("Service"),
        "metadata": st.fixed_dictionaries(
            {"name": st.sampled_from(["web", "a", "z"]), "namespace": st.just("harm")},
            optional={
                "creationTimestamp": st.sampled_from(
                    ["1970-01-01T00:00:01Z", "2099-01-01T00:00:00Z"]
                ),
                "annotations": st.dictionaries(
                    st.sampled_from([f"nplb.io/{name}" for name in (*NAMES, "listen", "x")]),
                    TEXTS,
                    max_size=4,
                ),
            },
        ),
        "spec": st.fixed_dictionaries(
            {
                "type": st.sampled_from(["NodePort", "LoadBalancer", "ExternalName", "ClusterIP"]),
                "ports": st.lists(PORTS, min_size=1, max_size=3),
            },
            optional={
                "externalIPs": st.lists(TEXTS, max_size=2),
                "externalName": TEXTS,
                "clusterIP": TEXTS,
                "loadBalancerIP": TEXTS,
                "loadBalancerSourceRanges": st.lists(TEXTS, max_size=2),
                "externalTrafficPolicy": st.sampled_from(["Local", "Cluster"]),
                "healthCheckNodePort": st.integers(0, 65535),
                "sessionAffinity": st.sampled_from(["ClientIP", "None"]),
            },
        ),
    }
)  # fmt: skip


def decoded(raws: list[dict[str, Any]]) -> tuple[Service, ...]:
    found = {}
    for raw in raws:
        try:
            service = decode_service(raw, cluster="prod")
        except DecodeError:
            continue
        found[service.key] = service
    return tuple(found.values())


def plan(services: tuple[Service, ...], previous: Plan) -> Plan:
    reader = AnnotationReader(SETTINGS)
    wishes = Wishes(by_service={one.key: reader.read(one, annotated(one)).wish for one in services})
    snapshots = {"prod": a_snapshot([*services, *OTHERS], NODES)}
    return make_plan(SETTINGS, snapshots, {}, previous, 1.0, wishes=wishes)


def of(made: Plan, namespace: str) -> list[Frontend]:
    return [f for f in made.frontends if f.key.service.namespace == namespace]


# Who is there already: the harm comes to an edge that serves.
BEFORE = make_plan(SETTINGS, {"prod": a_snapshot(OTHERS, NODES)}, {}, Plan(), 1.0)


@given(st.lists(SERVICES, max_size=3))
def test_whatever_a_team_writes_its_clients_go_to_nodes_and_its_own_node_port(
    raws: list[dict[str, Any]],
) -> None:
    services = decoded(raws)
    own = {port.node_port for service in services for port in service.ports}
    made = of(plan(services, BEFORE), "harm")
    assert len(made) <= 3
    for frontend in made:
        assert frontend.node_port in own
        for backend in frontend.backends:
            assert backend.key.address.ip in NODE_IPS
            assert backend.key.address.port == frontend.node_port
        for address in frontend.listen:
            allowed = address.port == frontend.node_port or 80 <= address.port <= 90
            assert allowed or address.port == 30080, address
            assert address.ip in SETTINGS.listen.addresses


@given(st.lists(SERVICES, max_size=3))
def test_whatever_a_team_writes_others_are_served_as_before(raws: list[dict[str, Any]]) -> None:
    # In the cluster nobody has another's NodePort; the allocator sees to that.
    taken = {port.node_port for service in OTHERS for port in service.ports}
    services = tuple(
        replace(one, ports=tuple(p for p in one.ports if p.node_port not in taken))
        for one in decoded(raws)
    )
    made = plan(services, BEFORE)
    assert of(made, "calm") == list(BEFORE.frontends)
    # From the first moment on too, when nobody is served yet.
    fresh = of(plan(services, Plan()), "calm")
    assert [f.key for f in fresh] == [f.key for f in BEFORE.frontends]
    assert [f.listen for f in fresh] == [f.listen for f in BEFORE.frontends]
