"""What `nplb top` shows of the statuses it gets: order, filter, drill-down. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nplb.observe.history import FAILURES

Document = dict[str, Any]

SERVICE_COLUMNS = ("SERVICE", "STATE", "NODES", "OPEN", "NEW/s", "FAILED/s", "IN/s", "OUT/s")
NODE_COLUMNS = ("NODE", "STATE", "REASON", "SINCE", "OPEN", "NEW/s", "FAILED/s", "PROBE")
_BADNESS = {"conflict": 0, "failed": 0, "no_backend": 1, "down": 1, "left_out": 2, "draining": 2}
_FAILED = tuple(reason.value for reason in FAILURES)
MAX_FILTER = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line. `values` are what is sorted by, one for each column; `trouble` marks it."""

    key: str
    values: tuple[Any, ...]
    trouble: bool = False


@dataclass(slots=True)
class Top:
    """The state of the screen. `press` takes keys, `take` statuses, `rows` gives lines."""

    status: Document | None = None
    before: Document | None = None
    error: str = ""
    frontend: str = ""
    """The key of the frontend whose nodes are shown; empty: all services."""
    filter: str = ""
    typing: bool = False
    selected: int = 0
    quit: bool = False
    _sort: dict[bool, tuple[int, bool]] = field(
        default_factory=lambda: {False: (1, False), True: (1, False)}
    )

    @property
    def columns(self) -> Sequence[str]:
        """The headings of what is shown."""
        return NODE_COLUMNS if self.frontend else SERVICE_COLUMNS

    @property
    def sort(self) -> tuple[int, bool]:
        """The column that is sorted by, and whether backwards."""
        return self._sort[bool(self.frontend)]

    def take(self, status: Document) -> None:
        """A new status. After a restart of nplb its counters begin anew."""
        same = self.status is not None and self.status["started_at"] == status["started_at"]
        if self.status is None or not same:
            self.before = None
        elif status["now"] > self.status["now"]:
            self.before = self.status
        self.status, self.error = status, ""
        if self.frontend and self._entry() is None:
            self.frontend = ""

    def press(self, key: str) -> None:
        """One key: a character, or one of up, down, page-up, page-down, home, end, left, right,
        enter, escape, backspace."""
        if self.typing:
            self._type(key)
            return
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -10, "page-down": 10}
        column, backwards = self.sort
        match key:
            case "q" | "\x03":
                self.quit = True
            case "/":
                self.typing, self.filter = True, ""
            case "escape" | "backspace":
                self._back()
            case "enter":
                self._enter()
            case "left" | "<":
                self._sort[bool(self.frontend)] = ((column - 1) % len(self.columns), False)
            case "right" | ">":
                self._sort[bool(self.frontend)] = ((column + 1) % len(self.columns), False)
            case "r":
                self._sort[bool(self.frontend)] = (column, not backwards)
            case "home":
                self.selected = 0
            case "end":
                self.selected = len(self.rows()) - 1
            case _ if key in moves:
                self.selected += moves[key]
        self.selected = max(0, min(self.selected, len(self.rows()) - 1))

    def rows(self) -> list[Row]:
        """The lines in their order, filtered."""
        if self.status is None:
            return []
        found = self._nodes() if self.frontend else self._services()
        wanted = self.filter.lower()
        found = [r for r in found if wanted in " ".join(map(str, (r.key, *r.values))).lower()]
        column, backwards = self.sort
        # Words upwards and numbers downwards: what matters is at the top.
        return sorted(sorted(found, key=lambda r: r.key), key=_order(column), reverse=backwards)

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self.typing = False
            case "escape":
                self.typing, self.filter = False, ""
            case "backspace":
                self.filter = self.filter[:-1]
            case _ if len(key) == 1 and key.isprintable() and len(self.filter) < MAX_FILTER:
                self.filter += key
        self.selected = 0

    def _back(self) -> None:
        if self.filter:
            self.filter = ""
        elif self.frontend:
            keys, left = None, self.frontend
            self.frontend = ""
            keys = [row.key for row in self.rows()]
            self.selected = keys.index(left) if left in keys else 0

    def _enter(self) -> None:
        rows = self.rows()
        if not self.frontend and rows:
            self.frontend, self.filter, self.selected = rows[self.selected].key, "", 0

    def _entry(self) -> Document | None:
        assert self.status is not None
        entries = self.status["plan"]["frontends"]
        return next((one for one in entries if one["key"]["text"] == self.frontend), None)

    def _services(self) -> list[Row]:
        assert self.status is not None
        found = []
        for entry in self.status["plan"]["frontends"]:
            key = entry["key"]["text"]
            active = sum(b["state"] == "active" for b in entry["backends"])
            total = len(entry["backends"])
            counters = self.status["traffic"]["frontends"].get(key, {})
            values = (
                key,
                entry["state"],
                f"{active}/{total}",
                counters.get("active", 0),
                self._rate("frontends", key, "accepted"),
                self._rate("frontends", key, "failed"),
                self._rate("frontends", key, "bytes_in"),
                self._rate("frontends", key, "bytes_out"),
            )
            trouble = entry["state"] != "serving" or active < total
            found.append(Row(key=key, values=values, trouble=trouble))
        return found

    def _nodes(self) -> list[Row]:
        assert self.status is not None
        entry = self._entry()
        if entry is None:
            return []
        found = []
        verdicts = self.status["verdicts"]
        for backend in entry["backends"]:
            key = backend["key"]["text"]
            counters = self.status["traffic"]["backends"].get(key, {})
            verdict = verdicts.get(backend["key"]["address"]["text"]) or {}
            values = (
                backend["key"]["node"],
                backend["state"],
                backend["reason"],
                self.status["now"] - backend["since"],
                counters.get("active", 0),
                self._rate("backends", key, "connections"),
                self._rate("backends", key, "connect_failures"),
                verdict.get("latency_seconds"),
            )
            found.append(Row(key=key, values=values, trouble=backend["state"] != "active"))
        for left in entry["left_out"]:
            values = (left["node"], "left_out", left["reason"], None, 0, 0.0, 0.0, None)
            found.append(Row(key=f"{self.frontend} via {left['node']}", values=values))
        return found

    def _rate(self, group: str, key: str, counter: str) -> float:
        """How much a counter grows a second, between the last two statuses."""
        if self.status is None or self.before is None:
            return 0.0
        seconds = self.status["now"] - self.before["now"]
        after = _count(self.status["traffic"][group].get(key, {}), counter)
        before = _count(self.before["traffic"][group].get(key, {}), counter)
        return float(max(0, after - before) / seconds) if seconds > 0 else 0.0


def _count(counters: Document, name: str) -> int:
    """A counter's value; `failed` is the sum of the ends that are failures."""
    if name == "failed":
        return sum(counters.get("ends", {}).get(reason, 0) for reason in _FAILED)
    return int(counters.get(name, 0))


def _order(column: int) -> Any:
    def key(row: Row) -> tuple[Any, ...]:
        value = row.values[column]
        if isinstance(value, str):
            if "/" in value and value.replace("/", "").isdecimal():
                active, total = map(int, value.split("/"))
                return (0, active / total if total else 0.0)
            return (0, _BADNESS.get(value, 9), value)
        return (1,) if value is None else (0, -value)

    return key
