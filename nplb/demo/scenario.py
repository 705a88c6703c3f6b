"""The script of `nplb demo --check`: one fault after another, with clients at work throughout."""

import asyncio
import time
from collections.abc import Callable

from nplb.demo.conditions import (
    has_reloaded,
    is_as,
    is_gone,
    is_in,
    is_out,
    is_served,
    sources_are,
)
from nplb.demo.stage import HTTP_SERVICES, Stage
from nplb.model.errors import NplbError

Say = Callable[[str], None]

STEADY_SECONDS = 1.5
DRAIN_SECONDS = 6
API_AWAY_SECONDS = 10

_NEW_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: late}
spec:
  type: NodePort
  selector: {app: late}
  ports: [{port: 80, targetPort: 8080}]
"""


class Scenario:
    """Runs the steps in order. A step that does not come to its end within its time is a
    failure of its own, besides the requests that failed."""

    def __init__(self, stage: Stage, say: Say) -> None:
        self._stage = stage
        self._say = say
        self._begun = time.monotonic()
        self.steps = 0

    async def run(self) -> None:
        """Every step. Raises NplbError for one that did not work."""
        stage = self._stage
        for service in HTTP_SERVICES:
            stage.traffic.start(service, stage.edge_address(service), kept=2, fresh=1)
        for step in (
            self._steady,
            self._node_refuses,
            self._node_goes_silent,
            self._node_is_drained_and_deleted,
            self._connections_for_life,
            self._service_appears_and_one_goes,
            self._configuration_is_reloaded,
            self._api_is_away,
        ):
            stage.traffic.phase = step.__name__.strip("_").replace("_", " ")
            await step()
            self.steps += 1
        await stage.traffic.stop()

    def _tell(self, text: str) -> None:
        self._say(f"{self.seconds(time.monotonic()):5.1f} s  {text}")

    def seconds(self, at: float) -> float:
        """How long after its begin a moment of `time.monotonic()` is."""
        return at - self._begun

    async def _steady(self) -> None:
        self._tell("3 nodes, 4 services, clients on each")
        await asyncio.sleep(STEADY_SECONDS)

    async def _node_refuses(self) -> None:
        stage = self._stage
        stage.lab.faults.apply("node-1", "refuse")
        took = await stage.until(is_out("node-1"), "node-1 to be out")
        self._tell(f"node-1 refuses: out of every service after {took:.1f} s")
        await asyncio.sleep(STEADY_SECONDS)
        stage.lab.faults.clear("node-1")
        took = await stage.until(is_in("node-1"), "node-1 to be back")
        self._tell(f"node-1 works again: back after {took:.1f} s")

    async def _node_goes_silent(self) -> None:
        stage = self._stage
        stage.lab.faults.apply("node-2", "silent")
        stage.traffic.node_went_silent()
        took = await stage.until(is_out("node-2"), "node-2 to be out")
        self._tell(f"node-2 is silent: out of every service after {took:.1f} s")
        await asyncio.sleep(STEADY_SECONDS)
        stage.lab.faults.clear("node-2")
        took = await stage.until(is_in("node-2"), "node-2 to be back")
        self._tell(f"node-2 answers again: back after {took:.1f} s")
        await asyncio.sleep(STEADY_SECONDS)

    async def _node_is_drained_and_deleted(self) -> None:
        stage = self._stage
        stage.lab.faults.apply("node-3", f"drain={DRAIN_SECONDS}s")
        took = await stage.until(is_as("node-3", "draining", "autoscaler_taint"), "node-3 to drain")
        self._tell(f"the autoscaler drains node-3: no new connection after {took:.1f} s")
        await stage.until(is_gone("node-3"), "node-3 to be gone", seconds=DRAIN_SECONDS + 10)
        self._tell("node-3 is deleted")

    async def _connections_for_life(self) -> None:
        stage = self._stage
        for service in HTTP_SERVICES:
            stage.traffic.start(service, stage.edge_address(service), kept=0, fresh=0, lifelong=1)
        self._tell("one more client per service, which never gives its connection up")
        await asyncio.sleep(STEADY_SECONDS)

    async def _service_appears_and_one_goes(self) -> None:
        stage = self._stage
        await stage.lab.apply(_NEW_SERVICE)
        address = stage.edge_address("default/late")
        took = await stage.until(is_served(address.port), "the new service to be served")
        stage.traffic.start("default/late", address, kept=1, fresh=1)
        self._tell(f"a new service: served at {address} after {took:.1f} s")
        await asyncio.sleep(STEADY_SECONDS)
        await stage.traffic.stop("default/late")
        stage.delete_service("default/late")
        took = await stage.until(
            lambda status: not is_served(address.port)(status), "its frontend to go"
        )
        self._tell(f"it is deleted: its listener is gone after {took:.1f} s")

    async def _configuration_is_reloaded(self) -> None:
        stage = self._stage
        status = await stage.balancer.status()
        count = status["reload"]["count"]
        for balance in ("round_robin", "least_connections"):
            stage.write_configuration(balance=balance)
            stage.balancer.reload()
            count += 1
            await stage.until(has_reloaded(count), "the reload")
        self._tell("the configuration is reloaded twice")
        stage.write_configuration(extra="balance: best\n")
        stage.balancer.reload()
        count += 1
        await stage.until(has_reloaded(count), "the broken reload to be refused")
        status = await stage.balancer.status()
        if not status["reload"]["errors"]:
            raise NplbError("a broken configuration was taken")
        self._tell(f"a broken one is refused: {status['reload']['errors'][0]}")
        stage.write_configuration()
        stage.balancer.reload()
        await stage.until(has_reloaded(count + 1), "the reload after the broken one")

    async def _api_is_away(self) -> None:
        stage = self._stage
        stage.lab.faults.apply("api", f"restart={API_AWAY_SECONDS}s")
        took = await stage.until(sources_are("stale"), "nplb to notice that the API is away")
        self._tell(f"the API server is away: noticed after {took:.1f} s, nothing changes")
        await stage.until(
            sources_are("live"), "the source to recover", seconds=API_AWAY_SECONDS + 30
        )
        self._tell("the API server is back, its history forgotten: listed again")
        await asyncio.sleep(STEADY_SECONDS)
