"""What the fast path holds, read beside whoever keeps it: nothing is taken over or changed."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nplb.dataplane.kernel.fastpath import bpf, devices, layout
from nplb.dataplane.kernel.fastpath.fastpath import home, left_behind
from nplb.dataplane.kernel.host import PINS
from nplb.model.errors import HostError
from nplb.model.reasons import FastPathEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A fast path as it is now: `interfaces` have its program, `connections` take up room,
    by family, and `events` count packets that it did not pass on since it was loaded."""

    interfaces: tuple[str, ...]
    frontends: tuple[layout.Front, ...]
    connections: Mapping[int, int]
    events: Mapping[FastPathEvent, int]


def survey(pins: Path = PINS) -> Survey | None:
    """The fast path of the calling thread's network namespace; None if there is none.

    Errors: HostError if it can't be read, as one of another version of nplb.
    """
    if not left_behind(pins):
        return None
    folder = home(pins)
    with contextlib.ExitStack() as stack:
        names = ("frontends", "events", *layout.FLOWS.values())
        maps = {name: _opened(name, folder, stack) for name in names}
        return Survey(
            interfaces=tuple(d.name for d in devices.devices() if devices.attached(d, folder)),
            frontends=tuple(sorted(layout.front(*each) for each in maps["frontends"].entries())),
            connections={
                family: sum(1 for _ in maps[name].entries()) // 2
                for family, name in layout.FLOWS.items()
            },
            events=layout.events(maps["events"].get),
        )


def _opened(name: str, folder: Path, stack: contextlib.ExitStack) -> bpf.BpfMap:
    try:
        opened = bpf.BpfMap(layout.MAPS[name], bpf.pinned(folder / f"{name}-{layout.SHAPE}"))
    except FileNotFoundError:
        raise HostError("the fast path here is another version's") from None
    stack.callback(opened.close)
    return opened
