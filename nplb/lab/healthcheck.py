"""What kube-proxy says of itself and of a Service's local pods, over HTTP.

Mirrors pkg/proxy/healthcheck/proxy_health.go (port 10256: `/healthz`, `/livez`) and
service_health.go (a Service's healthCheckNodePort, the same answer on every path).
"""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass

from nplb.lab.httpd import Request, Response
from nplb.model.keys import ServiceKey

HEALTHZ_PORT = 10256
_JSON = "application/json"
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHealth:
    """How one node's kube-proxy stands. `healthy`: no update has waited too long.
    `eligible`: its Node exists, is not being deleted and has no autoscaler taint.
    `updated_at` is when its rules last changed (epoch seconds)."""

    healthy: bool
    eligible: bool
    updated_at: float


def proxy_health_responder(
    health: Callable[[], ProxyHealth], now: Callable[[], float]
) -> Callable[[Request], Response]:
    """Answers on port 10256."""

    def respond(request: Request) -> Response:
        if request.path not in ("/healthz", "/livez"):
            return Response(status=404, body=b"404 page not found\n", headers=_NO_SNIFF)
        state = health()
        current = now()
        answer: dict[str, object] = {}
        good = state.healthy
        if request.path == "/healthz":
            good = good and state.eligible
        # A proxy that is well says "now": older load balancers read the time as a heartbeat.
        answer["lastUpdated"] = _timestamp(current if good else state.updated_at)
        answer["currentTime"] = _timestamp(current)
        if request.path == "/healthz":
            answer["nodeEligible"] = state.eligible
        answer["healthy"] = state.healthy
        answer["status"] = {
            "IPv4": {"lastUpdated": _timestamp(state.updated_at), "healthy": state.healthy}
        }
        body = json.dumps(answer, separators=(",", ":")).encode()
        status = 200 if good else 503
        return Response(status=status, body=body, content_type=_JSON, headers=_NO_SNIFF)

    return respond


def service_health_responder(
    service: ServiceKey, local_endpoints: Callable[[], int], proxy_healthy: Callable[[], bool]
) -> Callable[[Request], Response]:
    """Answers on a Service's healthCheckNodePort."""

    def respond(_request: Request) -> Response:
        count, healthy = local_endpoints(), proxy_healthy()
        body = json.dumps(
            {
                "service": {"namespace": service.namespace, "name": service.name},
                "localEndpoints": count,
                "serviceProxyHealthy": healthy,
            },
            indent="\t",
        )
        return Response(
            status=200 if count and healthy else 503,
            body=body.encode(),
            content_type=_JSON,
            headers={**_NO_SNIFF, "X-Load-Balancing-Endpoint-Weight": str(count)},
        )

    return respond


def _timestamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
