"""Faults of nodes and pods."""

from typing import Any

from nplb.demo.conditions import is_as, is_gone
from nplb.lab.writes import patch
from nplb.policy.nodes import EXCLUDE_LABEL
from tests.chaos.catalogue import fault
from tests.chaos.scene import Scene

STEADY_SECONDS = 1.5


@fault("a node refuses")
async def refuses(scene: Scene) -> None:
    since = scene.apply("node-1", "refuse")
    await scene.leaves_in_time("node-1", since)
    await scene.hold(STEADY_SECONDS)


@fault("a node goes silent", cuts=True)
async def silent(scene: Scene) -> None:
    scene.cut()
    since = scene.apply("node-2", "silent")
    await scene.leaves_in_time("node-2", since)
    scene.waits_once()
    await scene.hold(STEADY_SECONDS)


@fault("a node is slow")
async def slow(scene: Scene) -> None:
    scene.apply("node-3", "slow=300ms")
    await scene.stays_in("node-3", 4.0)


@fault("a node flaps")
async def flaps(scene: Scene) -> None:
    scene.apply("node-1", "flap=700ms")
    await scene.hold(7.0)


@fault("a node is NotReady and works")
async def not_ready_but_works(scene: Scene) -> None:
    scene.apply("node-2", "not-ready-but-serving")
    await scene.stays_in("node-2", 4.0)


@fault("a kubelet dies: Ready is Unknown, NodePorts work")
async def kubelet_dies(scene: Scene) -> None:
    scene.apply("node-3", "not-ready")
    await scene.stays_in("node-3", 13.0)


@fault("every node is NotReady and works")
async def mass_not_ready(scene: Scene) -> None:
    for name in scene.lab.nodes:
        scene.apply(name, "not-ready-but-serving")
    for name in scene.lab.nodes:
        await scene.stays_in(name, 1.5)


@fault("a node's kube-proxy is stuck")
async def proxy_stuck(scene: Scene) -> None:
    scene.apply("node-1", "proxy-stuck")
    await scene.stays_in("node-1", 3.0)


@fault("the autoscaler drains a node and deletes it", cuts=True)
async def drained(scene: Scene) -> None:
    scene.apply("node-3", "drain=6s")
    took = await scene.until(is_as("node-3", "draining", "autoscaler_taint"), "node-3 to drain")
    scene.note("no new connection", took)
    await scene.hold(5.5 - took)
    scene.cut()
    await scene.until(is_gone("node-3"), "node-3 to be gone")
    await scene.hold(STEADY_SECONDS)


@fault("a Node is deleted, and its machine is off", cuts=True)
async def deleted(scene: Scene) -> None:
    scene.cut()
    scene.apply("node-1", "delete")
    scene.note("gone", await scene.until(is_gone("node-1"), "node-1 to be gone"))
    await scene.hold(STEADY_SECONDS)


@fault("a machine is switched off", cuts=True)
async def dead(scene: Scene) -> None:
    scene.cut()
    since = scene.apply("node-2", "dead")
    await scene.leaves_in_time("node-2", since)
    scene.waits_once()
    await scene.hold(STEADY_SECONDS)


@fault("a pod dies", cuts=True)
async def pod_dies(scene: Scene) -> None:
    pod = scene.lab.pods("default/web")[0]["metadata"]
    # Until kube-proxy hears of it, a node of the lab accepts for the dead pod and then resets,
    # where the kernel of a real one would have refused, and the next node been tried.
    scene.cut(lasting_seconds=0.5)
    scene.apply(f"pod/{pod['namespace']}/{pod['name']}", "crash")
    await scene.hold(4.0)


@fault("somebody excludes every node by label")
async def all_excluded(scene: Scene) -> None:
    for name in scene.lab.nodes:
        patch(scene.lab.api, "nodes", name, {"metadata": {"labels": {EXCLUDE_LABEL: "true"}}})
    try:
        await scene.until(_keeps_some, "the cap to keep nodes")
        await scene.hold(STEADY_SECONDS)
    finally:
        for name in scene.lab.nodes:
            patch(scene.lab.api, "nodes", name, {"metadata": {"labels": {EXCLUDE_LABEL: None}}})


def _keeps_some(status: dict[str, Any]) -> bool:
    return any(finding["kind"] == "blast_radius" for finding in status["findings"])
