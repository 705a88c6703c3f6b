"""Create, update and delete of a Service, as the API server allocates for them.

Mirrors `pkg/registry/core/service/storage/alloc.go` (txnAllocNodePorts, txnUpdateNodePorts,
releaseAllocatedResources), `storage.go` there (patchAllocatedValues) and what of
`pkg/registry/core/service/strategy.go` (dropTypeDependentFields) concerns NodePorts. In the API
server this runs before validation, so a conflict is told before a malformed field is.
"""

from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import (
    AllocatorError,
    CauseType,
    Refused,
    internal_error,
    refused_node_port,
)
from nplb.alloc.operation import Operation
from nplb.model.cluster import Service, ServicePort, ServiceType
from nplb.model.keys import Protocol


class Change:
    """One Service about to be written. `service` has its numbers filled in.

    The numbers are taken already. `commit()` after the Service has been written; `rollback()`
    if it has not. As a context manager it rolls back unless committed.
    """

    __slots__ = ("_operation", "service")

    def __init__(self, service: Service, operation: Operation) -> None:
        self.service = service
        self._operation = operation

    @property
    def allocated(self) -> tuple[int, ...]:
        """The numbers that this change has taken, in order."""
        return self._operation.allocated

    @property
    def released(self) -> tuple[int, ...]:
        """The numbers that `commit` gives back."""
        return self._operation.deferred

    def commit(self) -> None:
        """Keep what was taken, give back what the Service no longer has."""
        self._operation.commit()

    def rollback(self) -> None:
        """Give back what was taken. Does nothing after `commit`."""
        self._operation.rollback()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rollback()


def begin_create(allocator: PortAllocator, service: Service, *, dry_run: bool = False) -> Change:
    """Take the numbers of a new Service.

    Raises Refused, and then holds nothing. TCP and UDP on one port number share one nodePort; an
    explicit number further down the list serves the entries of its port that come before it.
    """
    operation = Operation(allocator, dry_run=dry_run)
    try:
        if service.uses_node_ports:
            service = _init_node_ports(service, operation)
        if service.needs_health_check_node_port:
            service = _allocate_health_check(service, operation)
    except BaseException:
        operation.rollback()
        raise
    return Change(service, operation)


def begin_update(
    allocator: PortAllocator,
    old: Service,
    new: Service,
    *,
    dry_run: bool = False,
    validate: bool = True,
) -> Change:
    """Take the numbers that `new` has beyond `old`, and prepare the release of those it lost.

    Numbers left out are carried over by port name; numbers that the new type has no use for are
    wiped. Raises Refused, and then holds nothing and releases nothing. `validate` False leaves
    the one rule that is part of validation (`immutable_health_check`) to the caller.
    """
    new = carry_over(old, new)
    operation = Operation(allocator, dry_run=dry_run)
    try:
        if old.uses_node_ports and not new.uses_node_ports:
            for port in _node_ports(old):
                operation.release_deferred(port)
        if new.uses_node_ports:
            new = _update_node_ports(old, new, operation)
        new = drop_type_dependent(old, _update_health_check(old, new, operation))
        if validate and (refusal := immutable_health_check(old, new)):
            raise refusal
    except BaseException:
        operation.rollback()
        raise
    return Change(new, operation)


def release(allocator: PortAllocator, service: Service) -> None:
    """Give back everything that a deleted Service held, at once."""
    for port in _node_ports(service):
        allocator.release(port)
    if service.needs_health_check_node_port and service.health_check_node_port > 0:
        allocator.release(service.health_check_node_port)


def collect_node_ports(service: Service) -> list[int]:
    """Every number of a Service as the repair loop counts them (`collectServiceNodePorts` of
    `portallocator/controller/repair.go`).

    The same number with the same protocol is listed twice, so that it shows as a duplicate;
    with another protocol once. A health check number counts unless a port of another protocol
    than TCP has it.
    """
    collected: list[int] = []
    seen: dict[int, set[Protocol]] = {}
    for port in service.ports:
        if port.node_port == 0:
            continue
        protocols = seen.setdefault(port.node_port, set())
        if not protocols or port.protocol in protocols:
            collected.append(port.node_port)
        protocols.add(port.protocol)
    health_check = service.health_check_node_port
    if health_check and (health_check not in seen or Protocol.TCP in seen[health_check]):
        collected.append(health_check)
    return collected


def carry_over(old: Service, new: Service) -> Service:
    """`new` with the numbers it leaves out taken from `old` (`patchAllocatedValues`): by port
    name, unless another port of `new` has that number; and the health check's. A LoadBalancer
    that is told not to allocate keeps nothing it does not list."""
    if _draws(old) and _draws(new):
        used = set(_node_ports(old)) & set(_node_ports(new))
        by_name = {port.name: port.node_port for port in old.ports}

        def filled(port: ServicePort) -> ServicePort:
            number = by_name.get(port.name, 0)
            if port.node_port or not number or number in used:
                return port
            return replace(port, node_port=number)

        new = replace(new, ports=tuple(filled(port) for port in new.ports))
    if (
        old.needs_health_check_node_port
        and new.needs_health_check_node_port
        and not new.health_check_node_port
    ):
        new = replace(new, health_check_node_port=old.health_check_node_port)
    return new


def drop_type_dependent(old: Service, new: Service) -> Service:
    """`new` without numbers that its type has no use for, if they are only what `old` had; a
    number that the user added stays, and validation refuses it (`dropTypeDependentFields`).

    The API server does this between allocation and validation.
    """
    if (
        old.uses_node_ports
        and not new.uses_node_ports
        and set(_node_ports(old)) >= set(_node_ports(new))
    ):
        new = replace(new, ports=tuple(replace(port, node_port=0) for port in new.ports))
    if (
        old.needs_health_check_node_port
        and not new.needs_health_check_node_port
        and old.health_check_node_port == new.health_check_node_port
    ):
        new = replace(new, health_check_node_port=0)
    return new


def immutable_health_check(old: Service, new: Service) -> Refused | None:
    """The refusal of a change to a health check's number while the Service goes on needing one
    (`validateServiceExternalTrafficFieldsUpdate`), or None. Part of validation."""
    if (
        old.needs_health_check_node_port
        and new.needs_health_check_node_port
        and old.health_check_node_port != new.health_check_node_port
    ):
        return Refused(
            code=422,
            reason="Invalid",
            field="spec.healthCheckNodePort",
            bad_value=new.health_check_node_port,
            detail="field is immutable",
            cause=CauseType.FORBIDDEN,
        )
    return None


def _init_node_ports(service: Service, operation: Operation) -> Service:
    """`initNodePorts`: what each port of a new Service gets, in order."""
    ports = list(service.ports)
    mapped: dict[int, int] = {}
    for index, port in enumerate(ports):
        if not port.node_port and not _draws(service):
            continue
        shared = mapped.get(port.port, 0)
        if shared == 0:
            number = _requested(port.port, ports)
            if number:
                _allocate(operation, index, number)
            else:
                number = _draw(operation)
            mapped[port.port] = number
            ports[index] = replace(port, node_port=number)
        elif port.node_port == 0:
            ports[index] = replace(port, node_port=shared)
        elif port.node_port != shared:
            _allocate(operation, index, port.node_port)
    return replace(service, ports=tuple(ports))


def _update_node_ports(old: Service, new: Service, operation: Operation) -> Service:
    """`updateNodePorts`: as on create, but nothing is shared between protocols."""
    held = _node_ports(old)
    ports = list(new.ports)
    taken: set[int] = set()
    seen: set[tuple[Protocol, int]] = set()
    for index, port in enumerate(ports):
        number = port.node_port
        if not number and not _draws(new):
            continue
        if number:
            if number not in held and number not in taken:
                _allocate(operation, index, number)
                taken.add(number)
        else:
            number = _draw(operation)
            ports[index] = replace(port, node_port=number)
        if (port.protocol, number) in seen:
            # A plain Go error: the API server wraps it in a 500 without a reason.
            raise Refused(
                code=500, reason="", detail=f"duplicate nodePort: {{{port.protocol} {number}}}"
            )
        seen.add((port.protocol, number))
    new = replace(new, ports=tuple(ports))
    kept = set(_node_ports(new))
    for number in held:
        if number not in kept:
            operation.release_deferred(number)
    return new


def _update_health_check(old: Service, new: Service, operation: Operation) -> Service:
    """`updateHealthCheckNodePort`: only on the way into and out of needing one."""
    if not old.needs_health_check_node_port and new.needs_health_check_node_port:
        return _allocate_health_check(new, operation)
    if old.needs_health_check_node_port and not new.needs_health_check_node_port:
        operation.release_deferred(old.health_check_node_port)
    return new


def _allocate_health_check(service: Service, operation: Operation) -> Service:
    number = service.health_check_node_port
    if number:
        try:
            operation.allocate(number)
        except AllocatorError as error:
            raise internal_error(
                f"failed to allocate requested HealthCheck NodePort {number}: {error}", number
            ) from error
        return service
    try:
        number = operation.allocate_next()
    except AllocatorError as error:
        # The 0 is the original's: it prints the number that it did not get.
        raise internal_error(f"failed to allocate a HealthCheck NodePort 0: {error}") from error
    return replace(service, health_check_node_port=number)


def _allocate(operation: Operation, index: int, number: int) -> None:
    try:
        operation.allocate(number)
    except AllocatorError as error:
        raise refused_node_port(index, number, error) from error


def _draw(operation: Operation) -> int:
    try:
        return operation.allocate_next()
    except AllocatorError as error:
        raise internal_error(f"failed to allocate a nodePort: {error}") from error


def _draws(service: Service) -> bool:
    """Whether a port without a number gets one (`shouldAllocateNodePorts` of alloc.go, and
    `needsNodePort` of storage.go, which differs from strategy.go's of that name)."""
    return service.type is ServiceType.NODE_PORT or (
        service.type is ServiceType.LOAD_BALANCER and service.allocate_load_balancer_node_ports
    )


def _requested(port: int, ports: Iterable[ServicePort]) -> int:
    """The first explicit nodePort for this port number, or 0 (`findRequestedNodePort`)."""
    return next((p.node_port for p in ports if p.port == port and p.node_port), 0)


def _node_ports(service: Service) -> list[int]:
    """Every nodePort of a Service, as often as it is listed."""
    return [port.node_port for port in service.ports if port.node_port]
