"""Recorded answers of a real kube-apiserver, replayed against a server of ours.

What a real server draws or counts (UIDs, resourceVersions, addresses, ports, times) differs from
run to run. `Replay` keeps a book of what ours has in each of their places: the same thing must be
the same everywhere, what was asked for must be what was given, and what was drawn must come from
the same band. Everything else must be equal.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

DIRECTORY = Path(__file__).parent.parent / "golden" / "kube-apiserver-1.36"
FILES_WITH_OBJECTS = (
    "02-service-create.json",
    "03-service-update.json",
    "05-nodes.json",
    "06-endpointslices.json",
    "07-watches.json",
)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
STATIC_BAND, DYNAMIC_BAND = range(30000, 30086), range(30086, 32768)

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_AGE = re.compile(r"\d+[sm]")
_ADDRESS = re.compile(r"10\.96\.\d+\.\d+")
_SERVER_PORT = 16443  # where the recorded server listened
_TIMES = frozenset({"creationTimestamp", "time", "deletionTimestamp"})
_PORTS = frozenset({"nodePort", "healthCheckNodePort"})


def load(name: str) -> list[dict[str, Any]]:
    """The exchanges of one recorded file, in order."""
    exchanges: list[dict[str, Any]] = json.loads((DIRECTORY / name).read_text())
    return exchanges


@dataclass
class Replay:
    """Replays exchanges in order against one server."""

    url: str
    token: str
    session: aiohttp.ClientSession
    seconds_per_watch: int = 1
    known: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked_ports: set[int] = field(default_factory=set)
    asked_addresses: set[str] = field(default_factory=set)

    async def exchange(self, recorded: dict[str, Any]) -> list[str]:
        """Send one recorded request. Returns what differs in the answer."""
        request, expected = recorded["request"], recorded["response"]
        self._note_asked(request.get("body"))
        headers = {"User-Agent": "recorder/1.0", **(request.get("headers") or {})}
        if not request.get("unauthenticated"):
            headers["Authorization"] = f"Bearer {self.token}"
        if "contentType" in request:
            headers["Content-Type"] = request["contentType"]
        if recorded.get("note") == "as Table":
            headers["Accept"] = TABLE
        body = request.get("body")
        data = body if isinstance(body, str) or body is None else json.dumps(self._ours(body))
        url = self.url + self._our_path(request["path"])
        async with self.session.request(
            request["method"], url, data=data, headers=headers
        ) as answer:
            raw = await answer.text()
            found: list[str] = []
            if answer.status != expected["status"]:
                found.append(f"status: {answer.status}, recorded {expected['status']}: {raw[:300]}")
            for name, value in (expected.get("headers") or {}).items():
                if answer.headers.get(name) != value:
                    found.append(f"header {name}: {answer.headers.get(name)!r}, not {value!r}")
        if "events" in expected:
            return found + self._compare_events(expected["events"], raw)
        if isinstance(expected["body"], str):
            return found + self._compare(expected["body"], raw, "body")
        return found + self._compare(expected["body"], json.loads(raw), "body")

    # -- comparing ------------------------------------------------------------

    def _compare_events(self, expected: list[dict[str, Any]], raw: str) -> list[str]:
        # Bookmarks of a minute come by the clock; only the one that ends a list is of the data.
        wanted = [
            item["event"]
            for item in expected
            if item["event"].get("type") != "BOOKMARK" or item["at_seconds"] < 1
        ]
        got = [json.loads(line) for line in raw.splitlines()]
        found = []
        if len(got) != len(wanted):
            found.append(f"{len(got)} events, recorded {len(wanted)}")
        for index, (theirs, ours) in enumerate(zip(wanted, got, strict=False)):
            found += self._compare(theirs, ours, f"event[{index}]")
        return found

    def _compare(self, theirs: Any, ours: Any, path: str) -> list[str]:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            found = [f"{path}.{name}: missing" for name in theirs.keys() - ours.keys()]
            found += [f"{path}.{name}: not recorded" for name in ours.keys() - theirs.keys()]
            if not found and list(theirs) != list(ours):
                found.append(f"{path}: fields in the order {list(ours)}, not {list(theirs)}")
            for name in theirs.keys() & ours.keys():
                found += self._compare_field(name, theirs[name], ours[name], f"{path}.{name}")
            return found
        if isinstance(theirs, list) and isinstance(ours, list):
            if len(theirs) != len(ours):
                return [f"{path}: {len(ours)} elements, recorded {len(theirs)}"]
            pairs = enumerate(zip(theirs, ours, strict=True))
            return [text for i, (a, b) in pairs for text in self._compare(a, b, f"{path}[{i}]")]
        if isinstance(theirs, str) and isinstance(ours, str):
            return self._compare_text(theirs, ours, path)
        return [] if theirs == ours else [f"{path}: {ours!r}, not {theirs!r}"]

    def _compare_field(self, name: str, theirs: Any, ours: Any, path: str) -> list[str]:
        if name in _TIMES and theirs is not None:
            return [] if _TIME.fullmatch(str(ours)) else [f"{path}: {ours!r} is not a time"]
        if name == "uid":
            if not _UID.fullmatch(str(ours)):
                return [f"{path}: {ours!r} is not a UID"]
            return self._same("uid", theirs, ours, path)
        if name == "resourceVersion":
            return self._compare_version(theirs, ours, path)
        if name == "managedFields":
            # Entries stand by time, and where the second turned is each run's own.
            order = [(entry["operation"], entry["time"]) for entry in ours]
            if order != sorted(order):
                return [f"{path}: {order} is not in the order of operation and time"]
            return self._compare(sorted(theirs, key=_owner), sorted(ours, key=_owner), path)
        if name in _PORTS:
            return self._compare_port(theirs, ours, path)
        if name == "continue":
            self.known["continue", theirs] = ours
            return self._compare(_token(theirs), _token(ours), path)
        if name == "rv" and path.endswith("continue.rv"):
            return self._compare_version(str(theirs), str(ours), path)
        if name == "targetPort" and theirs == _SERVER_PORT:
            return [] if isinstance(ours, int) else [f"{path}: {ours!r}"]
        if name == "port" and theirs == _SERVER_PORT:
            return self._same("server", str(theirs), str(ours), path)
        return self._compare(theirs, ours, path)

    def _compare_version(self, theirs: str, ours: str, path: str) -> list[str]:
        found = self._same("version", theirs, ours, path)
        for (kind, other), mine in self.known.items():
            if kind == "version" and (int(other) < int(theirs)) and int(mine) > int(ours):
                found.append(f"{path}: {ours} is before {mine}, but {theirs} is after {other}")
        return found

    def _compare_port(self, theirs: int, ours: int, path: str) -> list[str]:
        if theirs in self.asked_ports or theirs not in (*STATIC_BAND, *DYNAMIC_BAND):
            return [] if theirs == ours else [f"{path}: {ours}, not {theirs}"]
        if ours not in DYNAMIC_BAND:
            return [f"{path}: {ours} was drawn outside of the dynamic band"]
        return self._same("port", str(theirs), str(ours), path)

    def _compare_text(self, theirs: str, ours: str, path: str) -> list[str]:
        if _ADDRESS.fullmatch(theirs) and theirs not in self.asked_addresses:
            if theirs in ("10.96.0.0", "10.96.0.1"):
                return [] if theirs == ours else [f"{path}: {ours}, not {theirs}"]
            if not _ADDRESS.fullmatch(ours):
                return [f"{path}: {ours!r} is not an address of the service range"]
            return self._same("address", theirs, ours, path)
        if theirs == str(_SERVER_PORT):
            return self._same("server", theirs, ours, path)
        if _AGE.fullmatch(theirs) and _AGE.fullmatch(ours):
            return []
        if self._translated(theirs) == ours:
            return []
        if theirs.startswith("192.0.2.1"):
            return self._same("host", theirs, ours, path)
        return [f"{path}: {ours!r}, not {theirs!r}"]

    def _same(self, kind: str, theirs: str, ours: str, path: str) -> list[str]:
        before = self.known.setdefault((kind, theirs), ours)
        return [] if before == ours else [f"{path}: {ours}, but {before} stood for {theirs} before"]

    def _translated(self, text: str) -> str:
        """A recorded text with what is known of ours in place of theirs."""
        for (kind, theirs), ours in self.known.items():
            if kind in ("port", "address", "host") and theirs in text:
                text = re.sub(rf"(?<![\d.]){re.escape(theirs)}(?![\d.])", ours, text)
        if re.search(r"resource version: \d+", text, re.IGNORECASE):
            for (kind, theirs), ours in self.known.items():
                if kind == "version":
                    text = re.sub(rf"current: {theirs}$", f"current: {ours}", text)
        return text

    # -- what is sent -----------------------------------------------------------

    def _note_asked(self, body: Any) -> None:
        if isinstance(body, str):
            self.asked_ports.update(int(found) for found in re.findall(r"odePort: (\d+)", body))
        for name, value in _fields(body):
            if name in _PORTS and isinstance(value, int):
                self.asked_ports.add(value)
            if name == "clusterIP":
                self.asked_addresses.add(value)

    def _our_path(self, path: str) -> str:
        """A recorded path, with our versions and tokens, and watches cut short."""
        path = re.sub(r"timeoutSeconds=\d+", f"timeoutSeconds={self.seconds_per_watch}", path)
        for parameter, kind in (("resourceVersion", "version"), ("continue", "continue")):
            if found := re.search(rf"[?&]{parameter}=([^&]+)", path):
                theirs = found[1]
                ours = self.known.get((kind, theirs), theirs)
                path = path.replace(f"{parameter}={theirs}", f"{parameter}={ours}")
        return path

    def _ours(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self._ours(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._ours(inner, name) for inner in value]
        kind = {
            "uid": "uid", "resourceVersion": "version", "clusterIP": "address",
            "clusterIPs": "address",
        }.get(name)  # fmt: skip
        return self.known.get((kind, value), value) if kind else value


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)


def _owner(entry: dict[str, Any]) -> tuple[str, ...]:
    return (entry["operation"], entry["manager"], entry["apiVersion"], entry.get("subresource", ""))


def _token(text: str) -> Any:
    """A continue token, decoded, under the name that `_compare_field` knows."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return json.loads(raw)
