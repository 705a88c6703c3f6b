"""Hysteresis as a table: when observations in a row turn a backend up or down. Pure.

THE RULES OF THIS FILE

(1) Everything that decides is in `TRANSITIONS`. There is no `if` about a state elsewhere.
(2) An event is an observation together with whether it is enough: the caller's `rise` and
    `fall` enter there and nowhere else, so they may change between any two observations.
(3) What says nothing about the backend (the edge's own errors, probes judged too late) is
    not an event. It must never get here.

THE THEORY

A backend is up or down, and an observation either agrees with that or contradicts it. One
contradiction proves little, so a backend changes only after several in a row: `fall`
failures for one that is up, `rise` successes for one that is down. FALLING is "up, but
contradicted", RISING is "down, but contradicted". One observation that agrees forgets all
contradictions before it.

    PASS    it answered, and that does not yet make `rise` in a row
    RISE    it answered, and that makes `rise` in a row (or more)
    FAIL    it did not answer, and that does not yet make `fall` in a row
    FALL    it did not answer, and that makes `fall` in a row (or more)

A backend starts in one of three states, as `health.initial` says. NEW believes the first
observation, whatever it is: a fresh edge should neither hold back backends that answer nor
send clients to ones that do not. TRUSTED is up on credit and UNPROVEN is down on suspicion:
both need the full number to change, like any other that is up or down. The three know
nothing yet: `healthy` of them is None.

THE TABLE (`drawn()` draws it; a test compares)

    state     PASS      RISE      FAIL      FALL
    new       up        up        down      down
    trusted   up        up        falling   down
    unproven  rising    up        down      down
    up        up        up        falling   down
    falling   up        up        falling   down
    down      rising    up        down      down
    rising    rising    up        down      down
"""

from dataclasses import dataclass
from enum import StrEnum

from nplb.model.verdict import InitialState


class State(StrEnum):
    """Where a backend stands."""

    NEW = "new"
    TRUSTED = "trusted"
    UNPROVEN = "unproven"
    UP = "up"
    FALLING = "falling"
    DOWN = "down"
    RISING = "rising"


class Event(StrEnum):
    """One observation, and whether it is enough."""

    PASS = "PASS"  # noqa: S105 - a word, not a secret
    RISE = "RISE"
    FAIL = "FAIL"
    FALL = "FALL"


PASS, RISE, FAIL, FALL = Event.PASS, Event.RISE, Event.FAIL, Event.FALL
NEW, TRUSTED, UNPROVEN = State.NEW, State.TRUSTED, State.UNPROVEN
UP, FALLING, DOWN, RISING = State.UP, State.FALLING, State.DOWN, State.RISING

TRANSITIONS: dict[State, dict[Event, State]] = {
    NEW: {PASS: UP, RISE: UP, FAIL: DOWN, FALL: DOWN},
    TRUSTED: {PASS: UP, RISE: UP, FAIL: FALLING, FALL: DOWN},
    UNPROVEN: {PASS: RISING, RISE: UP, FAIL: DOWN, FALL: DOWN},
    UP: {PASS: UP, RISE: UP, FAIL: FALLING, FALL: DOWN},
    FALLING: {PASS: UP, RISE: UP, FAIL: FALLING, FALL: DOWN},
    DOWN: {PASS: RISING, RISE: UP, FAIL: DOWN, FALL: DOWN},
    RISING: {PASS: RISING, RISE: UP, FAIL: DOWN, FALL: DOWN},
}

EVENTS: dict[tuple[bool, bool], Event] = {
    (True, False): PASS,
    (True, True): RISE,
    (False, False): FAIL,
    (False, True): FALL,
}
"""By whether the observation passed, and whether it is enough."""

HEALTHY: dict[State, bool | None] = {
    NEW: None,
    TRUSTED: None,
    UNPROVEN: None,
    UP: True,
    FALLING: True,
    DOWN: False,
    RISING: False,
}
"""What a state says to the rest of nplb. None: nothing observed yet."""

START: dict[InitialState, State] = {
    InitialState.PROBE: NEW,
    InitialState.UP: TRUSTED,
    InitialState.DOWN: UNPROVEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the observations so far amount to. `streak` counts those in a row that contradict
    `healthy`; it is 0 unless the state is FALLING or RISING."""

    state: State
    streak: int = 0

    @property
    def healthy(self) -> bool | None:
        """Up, down, or nothing observed yet."""
        return HEALTHY[self.state]


def start(initial: InitialState) -> History:
    """The history of a backend that nobody has observed."""
    return History(state=START[initial])


def resume(healthy: bool | None, streak: int, initial: InitialState) -> History:
    """The history of a backend of which somebody else has observed this much."""
    if healthy is None:
        return start(initial)
    if streak > 0:
        return History(state=FALLING if healthy else RISING, streak=streak)
    return History(state=UP if healthy else DOWN)


def step(history: History, passed: bool, *, rise: int, fall: int) -> History:
    """The history after one more observation. `rise` and `fall` below 1 count as 1."""
    row = history.streak + 1
    enough = row >= (rise if passed else fall)
    event = EVENTS[passed, enough]
    state = TRANSITIONS[history.state][event]
    if state is FALLING or state is RISING:
        return History(state=state, streak=row)
    if state is history.state and history.streak == 0:
        return history
    return History(state=state)


def drawn() -> str:
    """The table as text, as it stands in this module's docstring."""
    width = max(len(state) for state in State) + 2
    rows = [["state", *Event]]
    rows += [[state, *(TRANSITIONS[state][event] for event in Event)] for state in State]
    return "\n".join("".join(f"{cell:<{width}}" for cell in row).rstrip() for row in rows)
