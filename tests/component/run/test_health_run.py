"""`nplb run` in front of a lab whose nodes and API misbehave: who is out, and by which reason."""

import json
import signal
from collections.abc import Callable
from typing import Any

from nplb.lab.cluster import Lab
from nplb.lab.writes import patch
from nplb.policy.nodes import EXCLUDE_LABEL
from tests.support.edge import Edge, ask, of_lab
from tests.support.lab import Networks, make_lab

SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations: {{lab.nplb.io/pods: "{pods}"}}
spec:
  type: {type}
  selector: {{app: {name}}}
  externalTrafficPolicy: {policy}
  ports: [{{port: 80, targetPort: 8080, nodePort: {port}}}]
"""
QUICK = "interval: 200ms, fast_interval: 100ms, timeout: 150ms, rise: 1, fall: 2"
# A connect is answered by the kernel, a request by a lab that shares this process with the test.
PATIENT = "interval: 1s, fast_interval: 200ms, timeout: 950ms, rise: 1, fall: 3"


def service(
    name: str, port: int, *, pods: int = 2, kind: str = "NodePort", policy: str = "Cluster"
) -> str:
    text = SERVICE.format(name=name, port=port, pods=pods, type=kind, policy=policy)
    if kind == "LoadBalancer":
        text = text.replace("spec:\n", "spec:\n  loadBalancerClass: nplb.io/edge\n")
    return text


async def begin(edge: Edge, lab: Lab, health: str = "", *, times: str = QUICK, **keys: str) -> None:
    await edge.begin(of_lab(lab), health=f"{{{times}{health}}}", **keys)


async def has(lab: Lab, *manifests: str) -> None:
    for text in manifests:
        await lab.apply(text)
    for text in manifests:
        name = text.partition("name: ")[2].split()[0]
        await lab.service_ready(f"default/{name}")


Status = dict[str, Any]


def reasons(status: Status, name: str) -> dict[str, str]:
    return {
        backend["key"]["node"]: backend["reason"]
        for frontend in status["plan"]["frontends"]
        if frontend["key"]["service"]["name"] == name
        for backend in frontend["backends"]
    }


def says(node: str, reason: str, *names: str) -> Callable[[Status], bool]:
    """Whether a node has a reason in each of these services."""
    return lambda status: all(reasons(status, name)[node] == reason for name in names)


def label(lab: Lab, node: str, value: str | None) -> None:
    patch(lab.api, "nodes", node, {"metadata": {"labels": {EXCLUDE_LABEL: value}}})


async def metric(edge: Edge, name: str) -> list[str]:
    _, text = await edge.get("/metrics")
    return [line for line in text.splitlines() if line.startswith(name)]


async def test_the_cause_is_told_and_not_only_that_it_is_down(
    edge: Edge, networks: Networks
) -> None:
    async with make_lab(networks, nodes=4) as lab:
        await has(lab, service("web", 30080), service("shop", 30081))
        await begin(edge, lab)
        lab.faults.apply("node-1", "silent")
        lab.faults.apply("node-2", "refuse")
        await edge.until(says("node-1", "node_silent", "web", "shop"), "the node to be blamed")
        await edge.until(says("node-2", "kube_proxy_down", "web", "shop"), "kube-proxy's fault")
        status = await edge.status()
        # The same words in the journal, the API and the metrics.
        assert "node_silent" in {d["reason"] for d in status["decisions"]}
        lines = await metric(edge, "nplb_backends{")
        assert any('reason="node_silent"' in line for line in lines), lines
        code, text = await edge.get("/api/v1/explain/lab/default/shop/node-1")
        assert code == 200
        (page,) = json.loads(text)["frontends"]
        (backend,) = page["backends"]
        assert backend["reason"] == "node_silent"
        assert backend["signal_at"] is not None
        assert backend["explanation"]["change"]
        lab.faults.clear("node-1")
        await edge.until(says("node-1", "passing", "web", "shop"), "node-1 to be back")
        await lab.apply(service("web", 30080, pods=0))
        for node in ("node-1", "node-2", "node-3", "node-4"):
            await edge.until(says(node, "service_empty", "web"), "nobody to be blamed")
        assert reasons(await edge.status(), "shop")["node-3"] == "passing"
        lab.faults.clear()
        await lab.apply(service("web", 30080, pods=1))
        for node in ("node-1", "node-2", "node-3"):
            await edge.until(says(node, "passing", "web", "shop"), f"{node} to be back")


async def test_a_local_service_without_a_pod_is_silent_where_slices_do_not_tell(
    edge: Edge, networks: Networks
) -> None:
    async with make_lab(networks, nodes=2) as lab:
        local = service("local", 30082, pods=2, policy="Local")
        await has(lab, service("web", 30080), local)
        await begin(edge, lab)
        await edge.until(says("node-1", "passing", "web", "local"), "both to pass")
        # nplb's watches stall, while kube-proxy sees that the pods are gone.
        lab.faults.apply("api", "stall")
        await lab.apply(local.replace('"2"', '"1"'))
        await edge.until(
            lambda s: sorted(reasons(s, "local").values()) == ["local_silent", "passing"],
            "the silence of one node",
        )
        # Without any pod every node refuses, and none is to blame.
        await lab.apply(local.replace('"2"', '"0"'))
        await edge.until(
            lambda s: set(reasons(s, "local").values()) == {"service_empty"}, "it to be empty"
        )
        assert not [f for f in (await edge.status())["findings"] if f["kind"] == "panic"]
        assert set(reasons(await edge.status(), "web").values()) == {"passing"}


async def test_exclusion_by_the_labels_value_and_a_cap_on_how_many_leave(
    edge: Edge, networks: Networks
) -> None:
    async with make_lab(networks, nodes=5) as lab:
        await has(lab, service("web", 30080))
        await begin(edge, lab, ", blast_radius: {share: 0.4, window: 10m}")
        label(lab, "node-1", "")
        await edge.until(says("node-1", "exclude_label", "web"), "node-1 to drain")
        label(lab, "node-1", "false")
        await edge.until(says("node-1", "passing", "web"), "node-1 to be back")
        for number in range(1, 5):
            label(lab, f"node-{number}", "true")

        def capped(status: Status) -> bool:
            found = list(reasons(status, "web").values())
            return found.count("exclude_label") == 2 and found.count("kept") == 2

        await edge.until(capped, "two to leave and two to be kept")
        status = await edge.status()
        (text,) = [f["text"] for f in status["findings"] if f["kind"] == "blast_radius"]
        assert "health.blast_radius" in text
        assert "backend_kept" in {d["kind"] for d in status["decisions"]}
        assert (await metric(edge, "nplb_kept_nodes"))[0].endswith(" 2.0")
        kept = next(node for node, why in reasons(status, "web").items() if why == "kept")
        # Probes go on deciding.
        lab.faults.apply(kept, "silent")
        await edge.until(lambda s: reasons(s, "web")[kept] == "exclude_label", "it to go")
        assert "service web" in await ask(edge.ip, 30080)
        lab.faults.clear()
        for number in range(1, 5):
            label(lab, f"node-{number}", None)
        await edge.until(lambda s: set(reasons(s, "web").values()) == {"passing"}, "all to be back")
        await edge.until(
            lambda s: not [f for f in s["findings"] if f["kind"] == "blast_radius"], "silence"
        )


async def test_deleted_nodes_that_work_are_kept_beyond_the_cap(
    edge: Edge, networks: Networks
) -> None:
    async with make_lab(networks, nodes=4) as lab:
        await has(lab, service("web", 30080, pods=8))
        await begin(edge, lab)
        # The API loses Node objects; the machines work on. Pods of the fourth are left.
        for number in range(1, 4):
            lab.api.delete("nodes", f"node-{number}")
        await edge.until(
            lambda s: sorted(reasons(s, "web").values()) == ["kept", "passing"],
            "two to leave and one to be kept",
        )
        gone = [out["reason"] for out in (await edge.status())["plan"]["frontends"][0]["left_out"]]
        assert gone == ["node_gone"] * 2
        for _ in range(10):
            assert "service web" in await ask(edge.ip, 30080)


async def test_not_ready_lowers_and_a_mass_not_ready_does_nothing(
    edge: Edge, networks: Networks
) -> None:
    async with make_lab(networks, nodes=3) as lab:
        await has(lab, service("web", 30080))
        await begin(edge, lab)

        def tiers(status: Status) -> list[bool]:
            (frontend,) = status["plan"]["frontends"]
            if any(b["state"] != "active" for b in frontend["backends"]):
                return []
            return [b["tier"] > 0 for b in frontend["backends"]]

        lab.faults.apply("node-2", "not-ready-but-serving")
        await edge.until(lambda s: tiers(s) == [False, True, False], "node-2 to be lowered")
        lab.faults.apply("node-1", "not-ready-but-serving")
        lab.faults.apply("node-3", "not-ready-but-serving")
        await edge.until(
            lambda s: tiers(s) == [False] * 3 and s["plan"]["ready_ignored"] == ["lab"],
            "Ready to count for nothing",
        )
        await edge.until(
            lambda s: any(f["kind"] == "mass_not_ready" for f in s["findings"]), "a finding"
        )


async def test_the_node_itself_says_how_many_pods_it_holds(edge: Edge, networks: Networks) -> None:
    async with make_lab(networks, nodes=2) as lab:
        front = service("front", 30083, pods=3, kind="LoadBalancer", policy="Local")
        await has(lab, front)
        await begin(edge, lab)

        def weights(status: Status) -> list[int]:
            (frontend,) = status["plan"]["frontends"]
            return sorted(b["weight"] for b in frontend["backends"] if b["state"] == "active")

        await edge.until(lambda s: weights(s) == [1, 2], "weights by pods")
        # What the API says grows old; the health check node port does not.
        lab.faults.apply("api", "stall")
        pods = lab.pods("default/front")
        nodes = [pod["spec"]["nodeName"] for pod in pods]
        (lonely,) = [node for node in set(nodes) if nodes.count(node) == 1]
        (pod,) = [p["metadata"]["name"] for p in pods if p["spec"]["nodeName"] == lonely]
        lab.faults.apply(f"pod/default/{pod}", "not-ready")
        await edge.until(says(lonely, "health_check_port", "front"), "503 to drain the node")
        assert "service front" in await ask(edge.ip, 30083)


async def test_a_nodes_services_share_its_probes(edge: Edge, networks: Networks) -> None:
    names = [f"s{number}" for number in range(8)]
    async with make_lab(networks, nodes=2) as lab:
        await has(lab, *(service(n, 30100 + i, pods=1) for i, n in enumerate(names)))
        await begin(edge, lab, ", share: node, budget: 50")
        status = await edge.status()
        assert status["plan"]["detection"]["shared"]
        assert status["probing"]["sharing"] == 16
        assert status["probing"]["streams"] == 2
        lab.faults.apply("node-2", "silent")
        await edge.until(says("node-2", "node_silent", *names), "node-2 to be out of all")
        assert set(reasons(await edge.status(), "s0").values()) == {"passing", "node_silent"}
        lab.faults.clear()
        await edge.until(says("node-2", "passing", *names), "node-2 to be back in all")


async def test_a_panic_is_shown_and_opens_if_it_is_told_to(edge: Edge, networks: Networks) -> None:
    async with make_lab(networks, nodes=4) as lab:
        await has(lab, service("web", 30080), service("shop", 30081))
        await begin(
            edge,
            lab,
            ", panic_below: 0.5",
            frontends="[{service: default/shop, connect_attempts: 4, health: {fail_open: true}}]",
        )
        for number in (1, 2, 3):
            lab.faults.apply(f"node-{number}", "refuse")

        def panics(status: Status) -> bool:
            return all(frontend["panic"] for frontend in status["plan"]["frontends"])

        await edge.until(panics, "the panic")
        await edge.until(says("node-1", "kube_proxy_down", "web"), "web to stay closed")
        await edge.until(says("node-1", "fail_open", "shop"), "shop to open")
        assert all(line.endswith(" 1.0") for line in await metric(edge, "nplb_frontend_panic{"))
        assert "panic" in {f["kind"] for f in (await edge.status())["findings"]}
        # Those that refuse are tried, and then those that work.
        for name, port in (("web", 30080), ("shop", 30081)):
            for _ in range(5):
                assert f"service {name}" in await ask(edge.ip, port)
        lab.faults.clear()
        await edge.until(
            lambda s: not any(f["panic"] for f in s["plan"]["frontends"]), "the panic's end"
        )


async def test_http_probes_and_kube_proxys_word(edge: Edge, networks: Networks) -> None:
    async with make_lab(networks, nodes=2) as lab:
        await has(lab, service("web", 30080), service("shop", 30081))
        await begin(
            edge,
            lab,
            ", kube_proxy: require",
            times=PATIENT,
            frontends="[{service: default/web, health: "
            '{probe: http, http: {path: "/status/503"}}}]',
        )
        await edge.until(says("node-1", "probe_failed", "web"), "the wrong status to count")
        assert reasons(await edge.status(), "shop")["node-1"] == "passing"
        text = edge.config_path.read_text().replace("/status/503", "/status/204")
        edge.config_path.write_text(text)
        edge.signal(signal.SIGHUP)
        await edge.until(says("node-1", "passing", "web", "shop"), "the right one to count")
        # A kube-proxy that takes no update says so on port 10256.
        lab.faults.apply("node-2", "proxy-stuck")
        await lab.apply(service("shop", 30081, pods=3))
        await edge.until(says("node-2", "kube_proxy_unwell", "web", "shop"), "node-2 to drain")
        lab.faults.clear()
        await edge.until(says("node-2", "passing", "web", "shop"), "node-2 to be back")
