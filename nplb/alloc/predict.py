"""What the API server would answer to Services that have not been sent to it.

Everything goes through the same code as a real create or update (`alloc.services`), on a copy of
the ledger's allocator, so a refusal is the API server's own. What is added is what it does not
say: the set that a number would be drawn from, who holds a number that was refused, and what
chance may still spoil.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from nplb.alloc.errors import Refused
from nplb.alloc.findings import holder_text
from nplb.alloc.ledger import Ledger
from nplb.alloc.outcome import PortOutcome, health_check_outcome, port_outcomes
from nplb.alloc.portrange import PortRange
from nplb.alloc.scratch import Scratch
from nplb.alloc.services import begin_create, begin_update
from nplb.model.cluster import Service
from nplb.model.keys import ServiceKey
from nplb.model.ledger import Band


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer for one Service. `code`, `reason` and `message` are the API server's, `message`
    empty when it accepts; `hint` adds who holds the number, or what to do. `rolled_back` marks
    one that would be accepted, in a batch that is given up because another is not."""

    service: ServiceKey
    accepted: bool
    code: int
    reason: str = ""
    message: str = ""
    hint: str = ""
    ports: tuple[PortOutcome, ...] = ()
    health_check: PortOutcome | None = None
    rolled_back: bool = False


def predict(
    ledger: Ledger,
    services: Sequence[Service],
    *,
    transaction: bool = False,
    apply: bool = False,
    review: Callable[[int, Service], Refused | None] | None = None,
) -> tuple[Prediction, ...]:
    """The answers for Services that are sent in this order, each on top of those before it.

    One by one, a refused Service leaves the others alone, as `kubectl create -f` does; in a
    `transaction` one refusal gives up all. With `apply` a Service that exists is updated; else
    it is refused as existing. `review` is the rest of validation: it gets the position and the
    Service with its numbers, after allocation, as in the API server.
    """
    batch = Batch(ledger, apply=apply)
    return settle(
        [
            batch.send(service, partial(review, index) if review is not None else None)
            for index, service in enumerate(services)
        ],
        transaction=transaction,
    )


def settle(answers: Sequence[Prediction], *, transaction: bool) -> tuple[Prediction, ...]:
    """The answers of a batch as a whole: in a transaction one refusal gives up all."""
    if transaction and not all(answer.accepted for answer in answers):
        return tuple(replace(answer, rolled_back=answer.accepted) for answer in answers)
    return tuple(answers)


class Batch:
    """Services sent one after the other to a copy of a ledger's allocator, `scratch`.

    With `apply` a Service that exists is updated.
    """

    def __init__(self, ledger: Ledger, *, apply: bool = False) -> None:
        self._ledger = ledger
        self._sent: dict[ServiceKey, Service] = {}
        self.apply = apply
        self.scratch = Scratch(ledger.port_range, ledger.taken)

    def existing(self, key: ServiceKey) -> Service | None:
        """The Service of that name, as it is or as an earlier one of the batch made it."""
        return self._sent.get(key) or self._ledger.service(key)

    def send(
        self, service: Service, review: Callable[[Service], Refused | None] | None = None
    ) -> Prediction:
        """The answer for one Service; if it is accepted, its numbers are taken from here on."""
        old = self.existing(service.key)
        updates = self.apply and old is not None
        try:
            if self.apply and old is not None:
                change = begin_update(self.scratch, old, service)
            else:
                change = begin_create(self.scratch, service)
        except Refused as refused:
            return self._refuse(service.key, refused)
        with change:
            refused_late = review(change.service) if review is not None else None
            if refused_late is None and old is not None and not updates:
                refused_late = already_exists(service.key)
            if refused_late is not None:
                return self._refuse(service.key, refused_late)
            change.commit()
        return self.accept(service, old if updates else None, change.service)

    def accept(self, asked: Service, old: Service | None, given: Service) -> Prediction:
        """The answer for a Service whose numbers have been taken. `old` is what it updates."""
        self._sent[asked.key] = given
        return Prediction(
            service=asked.key,
            accepted=True,
            code=201 if old is None else 200,
            ports=port_outcomes(asked, old, given, self.scratch),
            health_check=health_check_outcome(asked, old, given, self.scratch),
        )

    def refuse(
        self,
        service: ServiceKey,
        *,
        code: int,
        reason: str,
        message: str,
        refused: Refused | None = None,
    ) -> Prediction:
        """The answer for a Service that the API server would not take, in its words. `refused`
        is given when it is about numbers."""
        return Prediction(
            service=service,
            accepted=False,
            code=code,
            reason=reason,
            message=message,
            hint=self._hint(service, reason, refused.bad_value if refused is not None else None),
        )

    def _refuse(self, service: ServiceKey, refused: Refused) -> Prediction:
        return self.refuse(
            service,
            code=refused.code,
            reason=refused.reason,
            message=refused.api_message("Service", service.name),
            refused=refused,
        )

    def _hint(self, service: ServiceKey, reason: str, number: int | None) -> str:
        if reason == "AlreadyExists":
            return "it exists; ask what an update would do instead"
        if number is None:
            return ""
        port_range = self._ledger.port_range
        if number not in port_range:
            span = port_range.static if port_range.static_size else port_range
            return f"numbers to choose by hand are {span}{self._free_one()}"
        holders = self._ledger.holders(number)
        if holders:
            own = all(holder.service == service for holder in holders)
            who = " and ".join(holder_text(holder) for holder in holders)
            if own:
                return f"{number} is held by this Service itself, {who}"
            return f"{number} is held by {who}{self._free_one()}"
        for key, other in self._sent.items():
            if number == other.health_check_node_port or any(
                number == port.node_port for port in other.ports
            ):
                return f"{number} is taken by {key.short}, which comes before it{self._free_one()}"
        if self.scratch.may_be_had(number):
            return f"this Service itself asks for {number} more than once"
        return f"the draws before it leave no number in the band of {number}"

    def _free_one(self) -> str:
        """What could be asked for instead, as the end of a sentence."""
        numbers = self._ledger.port_range.static.numbers
        free = next((number for number in numbers if self.scratch.may_be_had(number)), None)
        return f"; {free} is free" if free is not None else ""


def already_exists(key: ServiceKey) -> Refused:
    """What a create of a Service that exists ends in, after allocation and validation: 409."""
    return Refused(code=409, reason="AlreadyExists", detail=f'services "{key.name}" already exists')


def suggest(
    port_range: PortRange,
    taken: Container[int],
    count: int,
    band: Band = Band.STATIC,
) -> tuple[int, ...]:
    """Up to `count` numbers of a band to choose by hand, none of them in `taken`: the lowest of
    the static band, or the highest of the dynamic one."""
    span = port_range.static if band is Band.STATIC else port_range.dynamic
    numbers = span.numbers if band is Band.STATIC else reversed(span.numbers)
    return tuple(islice((number for number in numbers if number not in taken), count))
