"""A worker that was kept from running, as on a machine that stood still, blames no node for it."""

import json
import mmap
import socket
import time

import pytest

from nplb.dataplane.relay.counters import FILE_BYTES
from nplb.dataplane.relay.spec import frontend_message
from nplb.dataplane.relay.worker import loop as loops
from nplb.dataplane.relay.worker.affinity import FILE_BYTES as AFFINITY_BYTES
from nplb.dataplane.relay.worker.backend import Backend
from nplb.dataplane.relay.worker.connection import Connection
from nplb.dataplane.relay.worker.frontend import Frontend
from nplb.dataplane.relay.worker.side import CONNECTING, OPEN
from nplb.model.keys import Address
from nplb.model.plan import Timeouts
from nplb.model.reasons import EndReason
from tests.support.inprocess import make_worker
from tests.support.plans import make_frontend

CLIENTS = 12


def test_connects_that_were_answered_while_it_stood_still_are_no_timeouts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loops, "EVENTS", CLIENTS // 3)  # the rest is heard of in later turns
    failures: list[tuple[Backend, EndReason]] = []
    counters = memoryview(mmap.mmap(-1, FILE_BYTES)).cast("Q")
    affinity = memoryview(mmap.mmap(-1, AFFINITY_BYTES)).cast("Q")
    worker = make_worker(
        counters,
        affinity,
        log=lambda level, event, text: None,
        report_failure=lambda backend, reason: failures.append((backend, reason)),
    )
    loop = worker.loop
    with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as node:
        planned = make_frontend(
            Address("127.0.0.1", 80),
            [Address(*node.getsockname())],
            timeouts=Timeouts(connect=0.05),
        )
        frontend = Frontend(worker, 1)
        frontend.update(json.loads(json.dumps(frontend_message(planned, 1, [2]))))
        frontend.load()
        clients, connections = [], []
        for _ in range(CLIENTS):
            client, edge = socket.socketpair()
            edge.setblocking(False)
            clients.append(client)
            connections.append(Connection(worker, frontend, edge, edge.fileno(), ("::1", 1)))
            connections[-1].connect()
        assert {connection.state for connection in connections} == {CONNECTING}
        time.sleep(0.2)

        def decided() -> None:
            loop.running = any(connection.state == CONNECTING for connection in connections)

        loop.each_tick.append(decided)
        loop.run()
        assert failures == []
        assert {connection.state for connection in connections} == {OPEN}
        for connection in connections:
            connection.close(EndReason.SHUTDOWN)
        for sock in (*clients, *loop.dead):
            sock.close()
    loop.epoll.close()
