"""The lab over HTTP, below /lab/v1: faults, nodes, what is wrong.

    GET    /lab/v1/faults                            what is on, and what there is
    POST   /lab/v1/faults  {"target", "fault", "seconds"?}
    DELETE /lab/v1/faults?target=&fault=             clear all, a target's, or one
    GET    /lab/v1/nodes                             machines and how they are
    POST   /lab/v1/nodes   {"name"?}                 add one

It is served at a port of its own that no fault reaches, which the kubeconfig names as its cluster's
extension lab.nplb.io; and at the API server's port, which `down` and `restart` close. Requests
carry the kubeconfig's token. An error is `{"error": "what, and what to do"}`.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from nplb.lab.catalogue import CATALOGUE, Fault
from nplb.lab.faults import Faults, UnknownTargetError
from nplb.lab.node import Machine
from nplb.model.errors import NplbError

PREFIX = "/lab/v1"

JsonObject = dict[str, Any]


class Controlled(Protocol):
    """The lab, as far as it is controlled over HTTP."""

    faults: Faults

    @property
    def nodes(self) -> Mapping[str, Machine]:
        """Every machine."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What should be served and cannot."""

    async def add_node(self, name: str = "") -> Machine:
        """Add a machine."""


class _RefusedError(Exception):
    """A request that makes no sense; the message says why."""


def make_control(lab: Controlled) -> Callable[[web.Request], Any]:
    """The handler of every request below `PREFIX`."""

    async def control(request: web.Request) -> web.StreamResponse:
        try:
            if _route(request) == ("POST", "faults"):
                return await _turn_on(lab, request)
            return web.json_response(await _answer(lab, request))
        except UnknownTargetError as error:
            return _error(404, str(error))
        except (_RefusedError, NplbError) as error:
            return _error(400, str(error))

    return control


def _route(request: web.Request) -> tuple[str, str]:
    """Method, and path below `PREFIX`."""
    return request.method, request.path.removeprefix(PREFIX).strip("/")


async def _turn_on(lab: Controlled, request: web.Request) -> web.StreamResponse:
    """Turn a fault on, and answer: before it, if the fault cuts the answer's own connection."""
    body = await _body(request)
    seconds = body.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, type(None))):
        raise _RefusedError("seconds is not a number")
    fault = lab.faults.understand(_text(body, "target"), _text(body, "fault"), seconds=seconds)
    response = web.json_response({"fault": describe_fault(fault)})
    if not fault.kind.cuts:
        lab.faults.turn_on(fault)
        return response
    try:
        await response.prepare(request)
        await response.write_eof()
    finally:
        asyncio.get_running_loop().call_soon(lab.faults.turn_on, fault)
    return response


async def _answer(lab: Controlled, request: web.Request) -> JsonObject:
    match _route(request):
        case ("GET", "faults"):
            return {
                "faults": [describe_fault(fault) for fault in lab.faults.active],
                "catalogue": {
                    target: {kind.usage: kind.what for kind in kinds.values()}
                    for target, kinds in CATALOGUE.items()
                },
            }
        case ("DELETE", "faults"):
            cleared = lab.faults.clear(request.query.get("target"), request.query.get("fault"))
            return {"cleared": [describe_fault(fault) for fault in cleared]}
        case ("GET", "nodes"):
            nodes = [describe_node(machine) for machine in lab.nodes.values()]
            return {"nodes": nodes, "problems": list(lab.problems)}
        case ("POST", "nodes"):
            name = (await _body(request)).get("name", "")
            if not isinstance(name, str):
                raise _RefusedError("name is not a text")
            return {"node": describe_node(await lab.add_node(name))}
        case _:
            raise _RefusedError(
                f"{request.method} {request.path} is nothing; there are GET, POST and DELETE "
                f"{PREFIX}/faults, GET and POST {PREFIX}/nodes"
            )


def describe_fault(fault: Fault) -> JsonObject:
    """A fault as JSON. Times in epoch seconds."""
    return {
        "target": fault.target,
        "fault": fault.name,
        "argumentSeconds": None if fault.kind.share else fault.argument,
        "argumentShare": fault.argument if fault.kind.share else None,
        "since": fault.since,
        "until": fault.until,
        "text": str(fault),
    }


def describe_node(machine: Machine) -> JsonObject:
    """A machine as JSON."""
    condition = machine.condition
    return {
        "name": machine.name,
        "address": machine.address,
        "zone": machine.zone,
        "powered": condition.powered,
        "reach": machine.interface.reach.value,
        "delaySeconds": condition.delay_seconds,
        "impaired": condition.impairment.words,
        "registered": machine.registered,
        "pods": [f"{namespace}/{name}" for namespace, name in machine.kubelet.pods],
        "connections": machine.interface.connections,
    }


async def _body(request: web.Request) -> JsonObject:
    raw = await request.read()
    try:
        value = json.loads(raw or b"{}")
    except ValueError:
        raise _RefusedError("the body is not JSON") from None
    if not isinstance(value, dict):
        raise _RefusedError("the body is not a JSON object")
    return value


def _text(body: JsonObject, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise _RefusedError(f"{name} is missing")
    return value


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
