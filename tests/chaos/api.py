"""Faults of the API server: the plan stays, and recovery needs no help."""

from nplb.demo.conditions import sources_are
from tests.chaos.catalogue import fault
from tests.chaos.scene import Scene

AWAY_SECONDS = 4.0


async def _away(scene: Scene, spec: str) -> None:
    scene.apply("api", spec)
    await scene.hold(AWAY_SECONDS)
    scene.clear("api")
    await scene.sees_changes()


@fault("the API hangs")
async def hangs(scene: Scene) -> None:
    await _away(scene, "hang")


@fault("the API restarts and has forgotten its history")
async def restarts(scene: Scene) -> None:
    scene.apply("api", f"restart={AWAY_SECONDS:g}s")
    scene.note("noticed", await scene.until(sources_are("stale"), "the source to be stale"))
    await scene.until(sources_are("live"), "the source to be live", seconds=60)
    await scene.sees_changes()


@fault("the API answers 502 with HTML")
async def bad_gateway(scene: Scene) -> None:
    scene.apply("api", "cut")
    await _away(scene, "bad-gateway")


@fault("the API answers 429")
async def too_many_requests(scene: Scene) -> None:
    scene.apply("api", "cut")
    await _away(scene, "too-many-requests")


@fault("the API takes no token")
async def unauthorized(scene: Scene) -> None:
    scene.apply("api", "cut")
    await _away(scene, "unauthorized")


@fault("the API answers 500")
async def internal_error(scene: Scene) -> None:
    scene.apply("api", "cut")
    await _away(scene, "internal-error")


@fault("the API cuts every watch in the middle of a line")
async def cut(scene: Scene) -> None:
    await _away(scene, "cut")


@fault("watches stall")
async def stall(scene: Scene) -> None:
    await _away(scene, "stall")
