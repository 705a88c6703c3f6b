"""/livez, /readyz and /healthz, in the words and the form of a kube-apiserver.

/livez    the reconcile loop turns. It never depends on the cluster: restarting nplb does not
          bring an API server back, and takes every connection down.
/readyz   clients may be sent here: each part of readiness is met, and nplb is not stopping.
/healthz  both of the above.

Each answers 200 with `ok`, or 503 (a kube-apiserver says 500) with the list of its parts;
`?verbose` lists them always, `?exclude=NAME` leaves one out:

    [+]loop ok
    [-]sources failed: prod: no snapshot yet
    readyz check failed
"""

from collections.abc import Callable

from aiohttp import web

from nplb.model.status import ReadyPart, Status

LIVE_SECONDS = 30.0
"""The loop turns every second; this long without a turn means that it hangs."""


def live_parts(status: Status) -> tuple[ReadyPart, ...]:
    """What /livez looks at."""
    age = status.now - status.loop_at
    detail = f"the reconcile loop has not turned for {age:.0f} s"
    late = age > LIVE_SECONDS
    return (ReadyPart(name="loop", ok=not late, detail=detail if late else ""),)


def ready_parts(status: Status) -> tuple[ReadyPart, ...]:
    """What /readyz looks at."""
    detail = "nplb is stopping" if status.stopping else ""
    shutdown = ReadyPart(name="shutdown", ok=not status.stopping, detail=detail)
    return (*status.ready, shutdown)


class Health:
    """The handlers."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def routes(self) -> list[web.AbstractRouteDef]:
        """The paths that are answered here."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/healthz", self.healthz),
        ]

    async def livez(self, request: web.Request) -> web.Response:
        """Whether this process works."""
        return _answer(request, "livez", live_parts(self._status()))

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether clients may be sent here."""
        return _answer(request, "readyz", ready_parts(self._status()))

    async def healthz(self, request: web.Request) -> web.Response:
        """Both."""
        status = self._status()
        return _answer(request, "healthz", live_parts(status) + ready_parts(status))


def _answer(request: web.Request, name: str, parts: tuple[ReadyPart, ...]) -> web.Response:
    excluded = set(request.query.getall("exclude", []))
    unknown = excluded - {part.name for part in parts}
    checked = [part for part in parts if part.name not in excluded]
    well = all(part.ok for part in checked)
    if well and "verbose" not in request.query:
        return web.Response(text="ok")
    lines = [
        f"[+]{part.name} ok{_remark(part.detail)}"
        if part.ok
        else f"[-]{part.name} failed: {_line(part.detail)}"
        for part in checked
    ]
    lines += [f"[+]{part.name} excluded: ok" for part in parts if part.name in excluded]
    if unknown:
        lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}")
    lines.append(f"{name} check {'passed' if well else 'failed'}")
    return web.Response(status=200 if well else 503, text="\n".join(lines) + "\n")


def _remark(detail: str) -> str:
    """What to know of a part that is well: a reload that was refused, say."""
    return f": {_line(detail)}" if detail else ""


def _line(detail: str) -> str:
    return " ".join(detail.split()) or "reason unknown"
