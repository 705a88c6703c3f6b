"""Shows plans and statuses to eyes. Documents are those of `/api/v1/status` and of
`nplb plan -o json`, as `nplb.web.render` makes them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from nplb.cli.table import BAD, DIM, DOUBTFUL, GOOD, Cell, age, counted, plain, table

Document = dict[str, Any]

_COLOURS: Final = {
    "serving": GOOD,
    "active": GOOD,
    "live": GOOD,
    "info": DIM,
    "pending": DOUBTFUL,
    "draining": DOUBTFUL,
    "connecting": DOUBTFUL,
    "stale": DOUBTFUL,
    "warning": DOUBTFUL,
}
_MAX_TROUBLED: Final = 10
# Active, but not because all is well.
_ACTIVE_IN_SPITE: Final = ("kept", "fail_open")


def word(text: str) -> Cell:
    """A state's word in its colour; what is not known to be good is bad."""
    return Cell(text, _COLOURS.get(text, BAD))


def headline(status: Document, *, service: str = "") -> str:
    """The first line: is it well, since when, how much runs. `service` is the one that the
    status has been narrowed to."""
    plan, traffic = status["plan"], status["traffic"]
    alive = [worker for worker in traffic["workers"] if worker["alive"]]
    workers = counted(len(traffic["workers"]), "worker")
    if len(alive) < len(traffic["workers"]):
        workers = f"{len(alive)} of {workers}"
    open_now = sum(counters["active"] for counters in traffic["frontends"].values())
    state = "stopping" if status["stopping"] else "ready" if status["is_ready"] else "not ready"
    up = age(status["now"] - status["started_at"])
    parts = [
        f"nplb {status['version']}: {state}",
        f"up {up}",
        counted(len(plan["frontends"]), "frontend") + (f" of {plain(service)}" if service else ""),
        workers,
        f"{counted(open_now, 'connection')} open" + (" to it" if service else ""),
        f"plan {plan['generation']}",
    ]
    return ", ".join(parts)


def complaints(status: Document) -> Iterator[str]:
    """What keeps it from being well, a line each."""
    for part in status["ready"]:
        if not part["ok"]:
            yield f"not ready: {plain(part['name'])}: {plain(part['detail'])}"
    reload = status["reload"]
    if reload["errors"]:
        since = age(status["now"] - reload["at"])
        yield f"reload refused {since} ago, the configuration before stays in force:"
        yield from (f"  {plain(line)}" for line in reload["errors"])
    if reload.get("upgrade_error"):
        yield f"the last upgrade failed: {plain(reload['upgrade_error'])}"
    if status["last_error"]:
        yield f"last error: {plain(status['last_error'])}"


def sources_table(status: Document) -> str:
    """Where each cluster's state comes from, and how old it is."""
    rows = []
    for source in status["sources"]:
        taken = source["last_snapshot_at"]
        if taken is None:
            old = "none"
        elif source["state"] == "live":
            old = "current"
        else:
            old = f"{age(status['now'] - taken)} ago"
        rows.append([source["cluster"], word(source["state"]), old, source["error"]])
    return table(["CLUSTER", "STATE", "SNAPSHOT", "ERROR"], rows)


def frontends_table(document: Document, *, verbose: bool) -> str:
    """Each frontend, and below it the nodes that get no new connection (`verbose`: all).

    `document` is a status, or has a `plan` alone.
    """
    frontends = document["plan"]["frontends"]
    if not frontends:
        return "no frontend"
    is_status = "traffic" in document
    header = ["SERVICE", "LISTEN", "NODEPORT", "BALANCE", "NODES"]
    if is_status:
        header = ["SERVICE", "LISTEN", "STATE", "NODES", "OPEN", "TOTAL"]
    top = table(header, [_frontend_row(document, entry) for entry in frontends]).splitlines()
    lines = [top[0]]
    for entry, line in zip(frontends, top[1:], strict=True):
        lines.append(line)
        lines += [f"  {error}" for error in _listen_errors(document, entry)]
        lines += _backend_lines(document, entry, verbose=verbose)
    return "\n".join(lines)


def _frontend_row(document: Document, entry: Document) -> list[str | Cell]:
    listen = ", ".join(address["text"] for address in entry["listen"])
    backends = entry["backends"]
    active = sum(backend["state"] == "active" for backend in backends)
    nodes = Cell(f"{active}/{len(backends)}", "" if active == len(backends) else DOUBTFUL)
    if entry.get("panic"):
        nodes = Cell(f"{nodes.text} panic", BAD)
    if "traffic" not in document:
        number = str(entry["node_port"])
        return [_name(entry), listen, number, entry["balance"], nodes]
    counters = document["traffic"]["frontends"].get(entry["key"]["text"], {})
    return [
        _name(entry),
        listen,
        word(entry["state"]),
        nodes,
        f"{counters.get('active', 0):,}",
        f"{counters.get('accepted', 0):,}",
    ]


def _name(entry: Document) -> str:
    """`prod/shop/web:80`, and the port's name if it has one."""
    key = entry["key"]
    text = f"{key['service']['text']}:{key['port']}"
    return f"{text} ({entry['port_name']})" if entry["port_name"] else text


def _listen_errors(document: Document, entry: Document) -> Iterator[str]:
    applied = document.get("applied") or {}
    for error in applied.get("listen_errors", {}).get(entry["key"]["text"], ()):
        yield plain(error["detail"])


def _backend_lines(document: Document, entry: Document, *, verbose: bool) -> list[str]:
    shown = [
        b
        for b in entry["backends"]
        if verbose or b["state"] != "active" or b["reason"] in _ACTIVE_IN_SPITE
    ]
    left_out = [*entry.get("left_out", ())]
    rows: list[list[str | Cell]] = []
    for backend in shown if verbose else shown[:_MAX_TROUBLED]:
        row: list[str | Cell] = [
            backend["key"]["node"],
            backend["key"]["address"]["text"],
            word(backend["state"]),
            backend["reason"],
        ]
        if "now" in document:
            row.append(age(document["now"] - backend["since"]))
        rows.append([*row, backend["detail"]])
    empty = [""] if "now" in document else []
    rows += [
        [out["node"], "", Cell("left out", BAD), out["reason"], *empty, out["detail"]]
        for out in (left_out if verbose else left_out[:_MAX_TROUBLED])
    ]
    lines = table([], rows, indent="  ").splitlines()
    hidden = len(shown) + len(left_out) - len(rows)
    if hidden:
        why = Counter(backend["reason"] for backend in shown[_MAX_TROUBLED:])
        why.update(out["reason"] for out in left_out[_MAX_TROUBLED:])
        reasons = ", ".join(f"{reason} {number}" for reason, number in why.most_common())
        lines.append(f"  and {hidden} more: {reasons} (-v shows them)")
    return lines


def detection_line(document: Document) -> str:
    """How nodes are probed, and how soon that finds a fault."""
    detection = document["plan"]["detection"]
    if not detection["node_seconds"]:
        return ""
    rate = f"{detection['rate']:,.1f}".rstrip("0").rstrip(".")
    node = _seconds(detection["node_seconds"])
    if not detection["shared"]:
        return (
            f"probes: {rate} a second, each NodePort on its own; what goes silent is out after "
            f"{node} at the latest"
        )
    over = f", over the budget of {detection['budget']:g}" if detection["over_budget"] else ""
    return (
        f"probes: {rate} a second{over}, shared by the services of each node; a silent node is "
        f"out after {node} at the latest, a single service that fails there alone, unless clients "
        f"ask for it, after {_seconds(detection['service_seconds'])}"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}".rstrip("0").rstrip(".") + " s"


def skipped_table(document: Document) -> str:
    """The Services' ports that have no frontend, and why."""
    rows = [
        [skipped["key"]["text"], skipped["reason"], skipped["detail"]]
        for skipped in document["plan"]["skipped"]
    ]
    return table(["NOT SERVED", "REASON", "DETAIL"], rows)


def refusals_table(document: Document) -> str:
    """The annotations of Services that are not honoured, and why."""
    rows = [
        [refusal["service"]["text"], refusal["name"], refusal["value"], refusal["why"]]
        for refusal in document["plan"]["refusals"]
    ]
    return table(["REFUSED OF", "ANNOTATION", "VALUE", "WHY"], rows)


def findings_table(status: Document) -> str:
    """What an operator should know, and what to do."""
    rows = []
    for finding in status["findings"]:
        text = f"{finding['text']}; {finding['remedy']}" if finding["remedy"] else finding["text"]
        since = age(status["now"] - finding["since"])
        rows.append([word(finding["severity"]), finding["kind"], finding["subject"], since, text])
    return table(["FINDING", "KIND", "SUBJECT", "SINCE", "WHAT, AND WHAT TO DO"], rows)
