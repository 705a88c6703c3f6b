"""Services in process: what a type keeps, what is refused, and that nothing leaks."""

from typing import Any

import pytest

from nplb.lab.api.errors import ApiError
from nplb.lab.api.registry import CORE, REGISTRY
from nplb.lab.api.requests import Target, WriteOptions
from nplb.lab.api.server import ApiServer
from tests.support.api import make_api, quiet_api, service

__all__ = ["quiet_api"]


def _refusal(api: ApiServer, raw: dict[str, Any]) -> str:
    before = list(api.ports.ports())
    with pytest.raises(ApiError) as caught:
        api.create("services", raw)
    assert list(api.ports.ports()) == before
    return str(caught.value.status["message"]).partition("is invalid: ")[2]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"ports": [{"port": 0, "targetPort": 80}]},
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            {"ports": [{"port": 80, "targetPort": "No_Name"}]},
            (
                'spec.ports[0].targetPort: Invalid value: "No_Name": '
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
            ),
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"port": 10250}], "type": "LoadBalancer"},
            (
                "spec.ports[0]: Invalid value: 10250: "
                "may not expose port 10250 externally since it is used by kubelet"
            ),
        ),
        (
            {"sessionAffinity": "Cookie"},
            (
                'spec.sessionAffinity: Unsupported value: "Cookie": '
                'supported values: "ClientIP", "None"'
            ),
        ),
        (
            {"externalTrafficPolicy": "Global"},
            (
                'spec.externalTrafficPolicy: Unsupported value: "Global": '
                'supported values: "Cluster", "Local"'
            ),
        ),
        (
            {"type": "ClusterIP", "externalTrafficPolicy": "Local"},
            (
                'spec.externalTrafficPolicy: Invalid value: "Local": '
                "may only be set for externally-accessible services"
            ),
        ),
        (
            {"loadBalancerClass": "example.com/x"},
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
            (
                "spec.LoadBalancerSourceRanges: Forbidden: "
                "may only be used when `type` is 'LoadBalancer'"
            ),
        ),
        (
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]},
            (
                'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0": '
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ),
        ),
        (
            {"allocateLoadBalancerNodePorts": False},
            (
                "spec.allocateLoadBalancerNodePorts: Forbidden: "
                "may only be used when `type` is 'LoadBalancer'"
            ),
        ),
        (
            {"externalIPs": ["127.0.0.1"]},
            (
                'spec.externalIPs[0]: Invalid value: "127.0.0.1": '
                "may not be in the loopback range (127.0.0.0/8, ::1/128)"
            ),
        ),
        (
            {"type": "ExternalName", "ports": []},
            "spec.externalName: Required value",
        ),
        (
            {"type": "Headless"},
            (
                'spec.type: Unsupported value: "Headless": supported values: '
                '"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
            ),
        ),
        (
            {"ipFamilies": ["IPv6"]},
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ),
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            (
                'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
                "this cluster is not configured for dual-stack services"
            ),
        ),
        (
            {"trafficDistribution": "Nearest"},
            (
                'spec.trafficDistribution: Unsupported value: "Nearest": supported values: '
                '"PreferClose", "PreferSameNode", "PreferSameZone"'
            ),
        ),
        (
            {"selector": {"a b": "c"}},
            (
                'spec.selector: Invalid value: "a b": name part must consist of alphanumeric '
                "characters, '-', '_' or '.', and must start and end with an alphanumeric "
                "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
                "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ),
        ),
    ],
)
def test_refusals(quiet_api: ApiServer, spec: dict[str, Any], message: str) -> None:
    raw = service("web")
    raw["spec"].update(spec)
    assert _refusal(quiet_api, raw) == message


def test_several_findings_are_told_at_once(quiet_api: ApiServer) -> None:
    raw = service("web", {"port": 0, "protocol": "ICMP", "targetPort": 80})
    message = _refusal(quiet_api, raw)
    assert message.startswith("[spec.ports[0].port: Invalid value: 0: ")
    assert message.endswith('supported values: "SCTP", "TCP", "UDP"]')


def test_headless_services(quiet_api: ApiServer) -> None:
    with_selector = service("a", clusterIP="None", type="ClusterIP")
    created = quiet_api.create("services", with_selector)["spec"]
    assert created["clusterIPs"] == ["None"]
    assert created["ipFamilies"] == ["IPv4"]
    without = service("b", clusterIP="None", type="ClusterIP", selector={})
    created = quiet_api.create("services", without)["spec"]
    assert created["ipFamilies"] == ["IPv4", "IPv6"]
    assert created["ipFamilyPolicy"] == "RequireDualStack"


def test_a_cluster_ip_cannot_change_but_comes_and_goes_with_the_type(
    quiet_api: ApiServer,
) -> None:
    first = quiet_api.create("services", service("web"))["spec"]["clusterIP"]
    with pytest.raises(ApiError, match="may not change once set"):
        quiet_api.patch("services", "web", {"spec": {"clusterIP": "10.96.9.9"}})
    external = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert "clusterIP" not in quiet_api.patch("services", "web", external)["spec"]
    # The address is free again, for whoever asks for it.
    other = quiet_api.create("services", service("other", clusterIP=first))
    assert other["spec"]["clusterIP"] == first
    back = quiet_api.patch("services", "web", {"spec": {"type": "NodePort", "externalName": None}})
    assert back["spec"]["clusterIP"] not in (first, None)
    assert back["spec"]["ports"][0]["nodePort"] >= 30086


def test_an_update_that_leaves_things_out_keeps_what_was_given(quiet_api: ApiServer) -> None:
    created = quiet_api.create("services", service("web", {"port": 80, "name": "http"}))
    sent = service("web", {"port": 80, "name": "http"}, selector={"app": "other"})
    updated = quiet_api.update("services", sent)
    for name in ("clusterIP", "clusterIPs", "ports", "ipFamilies"):
        assert updated["spec"][name] == created["spec"][name]
    assert updated["spec"]["selector"] == {"app": "other"}


def test_a_load_balancer_that_becomes_something_else_loses_what_only_it_has(
    quiet_api: ApiServer,
) -> None:
    quiet_api.create(
        "services",
        service("web", type="LoadBalancer", externalTrafficPolicy="Local", loadBalancerClass="x/y"),
    )
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    patched = quiet_api.patch("services", "web", status, subresource="status")
    assert patched["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    number = patched["spec"]["healthCheckNodePort"]
    changed = quiet_api.patch("services", "web", {"spec": {"type": "NodePort"}})
    for name in ("healthCheckNodePort", "loadBalancerClass", "allocateLoadBalancerNodePorts"):
        assert name not in changed["spec"]
    assert changed["status"] == {"loadBalancer": {}}
    assert not quiet_api.ports.has(number)


@pytest.mark.parametrize(
    ("ingress", "message"),
    [
        (
            {"ip": "nonsense"},
            'ingress[0].ip: Invalid value: "nonsense": must be a valid IP address',
        ),
        ({"ip": "192.0.2.1", "ipMode": "NAT"}, 'ingress[0].ipMode: Unsupported value: "NAT"'),
        ({"hostname": "a", "ipMode": "VIP"}, "ingress[0].ipMode: Forbidden: may not be specified"),
        ({"hostname": "192.0.2.1"}, "must be a DNS name, not an IP address"),
    ],
)
def test_what_a_status_may_not_say(
    quiet_api: ApiServer, ingress: dict[str, Any], message: str
) -> None:
    quiet_api.create("services", service("web", type="LoadBalancer"))
    status = {"status": {"loadBalancer": {"ingress": [ingress]}}}
    with pytest.raises(ApiError) as caught:
        quiet_api.patch("services", "web", status, subresource="status")
    assert message in caught.value.status["message"]


def test_a_full_range_is_told_and_deleting_makes_room() -> None:
    api = make_api(node_port_range="30000-30003")
    for name in "abcd":
        api.create("services", service(name))
    with pytest.raises(ApiError) as caught:
        api.create("services", service("e"))
    assert caught.value.code == 500
    text = "Internal error occurred: failed to allocate a nodePort: range is full"
    assert caught.value.status["message"] == text
    freed = api.store.get("services", "c", "default")
    assert freed is not None
    api.delete("services", "c")
    created = api.create("services", service("e"))
    assert created["spec"]["ports"] == [
        {**freed["spec"]["ports"][0], "nodePort": freed["spec"]["ports"][0]["nodePort"]}
    ]


def test_a_service_that_waits_for_its_finalizers_keeps_its_port(quiet_api: ApiServer) -> None:
    raw = service("web", {"port": 80, "nodePort": 30080})
    raw["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
    quiet_api.create("services", raw)
    quiet_api.delete("services", "web")
    waiting = quiet_api.store.get("services", "web", "default")
    assert waiting is not None
    assert waiting["metadata"]["deletionTimestamp"]
    assert quiet_api.ports.has(30080)
    quiet_api.patch("services", "web", {"metadata": {"finalizers": None}})
    assert quiet_api.store.get("services", "web", "default") is None
    assert not quiet_api.ports.has(30080)
    quiet_api.create("services", service("next", {"port": 80, "nodePort": 30080}))


def test_a_dry_run_takes_nothing(quiet_api: ApiServer) -> None:
    services = REGISTRY.resources["services"]
    target = Target(resource=services, served=CORE, namespace="default")
    seen: list[str] = []
    quiet_api.store.subscribe("services", lambda type_, _object: seen.append(type_))
    raw = service("web", {"port": 80, "nodePort": 30080})
    created = quiet_api.operations.create(target, raw, WriteOptions(dry_run=True))
    assert created["spec"]["ports"][0]["nodePort"] == 30080
    assert "resourceVersion" not in created["metadata"]
    assert not quiet_api.ports.has(30080)
    assert not seen
