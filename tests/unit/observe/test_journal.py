"""The journal of decisions."""

import asyncio
import logging

import pytest

from nplb.model.decision import Decision, DecisionKind
from nplb.observe.journal import Journal


def decision(kind: DecisionKind = DecisionKind.BACKEND_DOWN, **fields: str) -> Decision:
    values = {"subject": "prod/shop/web:80/TCP via n1", "text": "refused", **fields}
    return Decision(at=1.0, kind=kind, **values)  # type: ignore[arg-type]


def test_entries_are_numbered_and_filtered() -> None:
    journal = Journal()
    journal.append(decision(DecisionKind.STARTED, subject="nplb"))
    journal.append(decision(service="prod/shop/web", node="n1"))
    journal.append(decision(DecisionKind.BACKEND_JOINED, service="prod/shop/web", node="n2"))
    assert [entry.sequence for entry in journal.since()] == [1, 2, 3]
    assert [entry.sequence for entry in journal.since(1)] == [2, 3]
    assert [entry.sequence for entry in journal.since(99)] == []
    assert [entry.sequence for entry in journal.since(before=3)] == [1, 2]
    assert [entry.sequence for entry in journal.since(before=3, limit=1)] == [2]
    assert [entry.sequence for entry in journal.since(1, before=3)] == [2]
    assert [entry.sequence for entry in journal.since(before=1)] == []
    assert [entry.sequence for entry in journal.since(before=99)] == [1, 2, 3]
    assert [entry.node for entry in journal.since(kinds={DecisionKind.BACKEND_DOWN})] == ["n1"]
    assert [entry.node for entry in journal.since(service="prod/shop/web")] == ["n1", "n2"]
    assert [entry.node for entry in journal.since(node="n2")] == ["n2"]
    assert [entry.sequence for entry in journal.latest(2)] == [2, 3]
    assert journal.counts[DecisionKind.STARTED] == 1


def test_it_keeps_the_last_ones_and_their_numbers_tell_what_is_gone() -> None:
    journal = Journal(capacity=3)
    assert (journal.first, journal.last) == (1, 0)
    journal.extend(decision() for _ in range(10))
    assert [entry.sequence for entry in journal.since()] == [8, 9, 10]
    assert (journal.first, journal.last) == (8, 10)


def test_every_entry_is_logged_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Journal().append(decision(reason="refused", node="n1"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "prod/shop/web:80/TCP via n1: refused"
    assert vars(record)["kind"] == "backend_down"
    assert vars(record)["node"] == "n1"


async def test_a_reader_gets_what_comes_after_it_and_is_told_what_it_missed() -> None:
    journal = Journal(capacity=5)
    journal.append(decision())
    async with journal.reader() as reader:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(reader.next(), name="reader")
            await asyncio.sleep(0)
            assert not waiting.done()
            journal.append(decision(node="n2"))
        assert [entry.node for entry in waiting.result()] == ["n2"]
        journal.extend(decision() for _ in range(8))
        assert [entry.sequence for entry in await reader.next()] == [6, 7, 8, 9, 10]
        assert reader.missed == 3
        journal.extend(decision() for _ in range(3))
        assert [entry.sequence for entry in await reader.next(limit=2)] == [11, 12]
        assert [entry.sequence for entry in await reader.next()] == [13]
    async with journal.reader(after=11) as late:
        assert [entry.sequence for entry in await late.next()] == [12, 13]
