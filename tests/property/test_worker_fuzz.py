"""Whatever a worker is told: it does it, or says that it makes no sense, and goes on."""

import json
import mmap
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nplb.dataplane.relay.counters import FILE_BYTES
from nplb.dataplane.relay.spec import frontend_message
from nplb.dataplane.relay.worker.affinity import FILE_BYTES as AFFINITY_BYTES
from nplb.dataplane.relay.worker.channel import Channel
from nplb.model.keys import Address
from nplb.model.relay import RelayOptions
from nplb.policy.addressset import AddressSet
from tests.support.damage import ODD, places
from tests.support.inprocess import make_worker
from tests.support.plans import make_frontend

OPS = ["sources", "forget_sources", "frontend", "listen", "unlisten", "remove", "backends"]
OPS += ["limits", "commit", "unlisten_all", "reset_all", "nonsense"]
FRAME_FIELDS = ("row", "name", "relay", "backends", "timeouts", "balance", "attempts")
OTHER_FIELDS = ("names", "bytes", "address", "changes", "max_connections", "generation", "serial")
FIELDS = st.sampled_from(sorted({*FRAME_FIELDS, *OTHER_FIELDS}))


def a_frame() -> dict[str, Any]:
    frontend = make_frontend(
        Address("127.0.0.1", 80), [Address("127.0.0.1", 30080)], relay=RelayOptions(client_rate=1.0)
    )
    made = json.loads(json.dumps(frontend_message(frontend, 1, [2])))
    assert isinstance(made, dict)
    return made


FRAME = a_frame()


@st.composite
def frames(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {**draw(st.dictionaries(FIELDS, ODD, max_size=5)), "op": draw(st.sampled_from(OPS))}
    frame = json.loads(json.dumps(FRAME))
    for _ in range(draw(st.integers(0, 2))):
        *parents, last = draw(st.sampled_from([p for p in places(frame) if p != ("op",)]))
        place: Any = frame
        for key in parents:
            place = place[key]
        place[last] = draw(ODD)
    return dict(frame)


@pytest.fixture(scope="module")
def memory() -> tuple[memoryview, memoryview]:
    return (
        memoryview(mmap.mmap(-1, FILE_BYTES)).cast("Q"),
        memoryview(mmap.mmap(-1, AFFINITY_BYTES)).cast("Q"),
    )


@given(messages=st.lists(frames(), max_size=6))
def test_any_frames_leave_a_worker_that_works(
    memory: tuple[memoryview, memoryview], messages: list[dict[str, Any]]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        channel = Channel({}, theirs)
        logged: list[str] = []
        worker = make_worker(*memory, log=lambda level, event, text: logged.append(text))
        channel.attach(worker)
        for message in messages:
            channel.handle(message)
            for frontend in list(worker.frontends.values()):
                # As when its first client comes: what makes no sense then is that client's end.
                try:
                    frontend.load()
                except (KeyError, TypeError, ValueError, IndexError, OverflowError, OSError):
                    worker.frontends.clear()
        worker.frontends.clear()
        channel.handle(FRAME)
        assert 1 in worker.frontends
        worker.frontends[1].load()
    worker.loop.epoll.close()


@given(
    st.binary(max_size=80), st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
)
def test_any_bytes_are_a_set_of_addresses_or_refused(data: bytes, address: bytes) -> None:
    try:
        made = AddressSet.from_bytes(data)
    except ValueError:
        return
    made.admits(address)
    assert made.to_bytes() == data or len(data) < 4
