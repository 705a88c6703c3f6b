"""Which listening sockets there are, and which worker takes clients from each.

An address has a seat for every worker: a listening socket of its own. Seat n belongs to the worker
whose index is n modulo the number of workers. So when there are fewer workers than before, every
seat still has one that serves it, and a client that waits in its queue is not lost; when there are
more, seats are added. Control keeps a copy of every socket.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

from nplb.dataplane.relay.listeners import (
    ListenFailedError,
    hear_new_clients,
    ignore_new_clients,
    inode_of,
    open_listeners,
)
from nplb.dataplane.relay.pool import WorkerPool, parse_address
from nplb.dataplane.relay.process import WorkerProcess
from nplb.dataplane.relay.survivors import Survivor
from nplb.model.applied import ListenError
from nplb.model.keys import Address

Sockets = dict[int, socket.socket]
# A frontend's row, an address that it listens on, and whether that takes IPv4 clients too.
Wanted = tuple[int, Address, bool]
# After so many addresses, other tasks get their turn.
BATCH = 50


class Seats:
    """The sockets by row and address, and spare ones that have just lost their frontend.
    `commit` waits until the workers have taken what they were told."""

    def __init__(self, pool: WorkerPool, commit: Callable[[], Awaitable[None]]) -> None:
        self._pool = pool
        self._commit = commit
        self._bound: dict[int, dict[Address, Sockets]] = {}
        self._spare: dict[Address, Sockets] = {}
        self._dual: set[Address] = set()

    def of(self, row: int) -> list[Address]:
        """The addresses that a frontend listens on."""
        return list(self._bound.get(row, ()))

    def inherit(self, survivors: Iterable[Survivor], rows: set[int]) -> None:
        """Take the sockets of workers that were taken over. Those of frontends in `rows` stay
        theirs, the others are spare. What is not needed is left in `survivors`."""
        for survivor in survivors:
            for (row, text, seat), sock in list(survivor.listeners.items()):
                address = parse_address(text)
                known = survivor.understood and row in rows
                place = self._bound.setdefault(row, {}) if known else self._spare
                sockets = place.setdefault(address, {})
                if seat not in sockets:
                    hear_new_clients(sock)  # the control before may have been about to end
                    sockets[seat] = sock
                    del survivor.listeners[row, text, seat]
                    if _is_dual(sock):
                        self._dual.add(address)
        for sockets_of in self._bound.values():
            for address in sockets_of:
                for seat, sock in self._spare.pop(address, {}).items():
                    if sockets_of[address].setdefault(seat, sock) is not sock:
                        sock.close()

    # -- what listens ----------------------------------------------------------

    def unlisten(self, row: int, address: Address) -> None:
        """The frontend gives the address up."""
        sockets = self._bound[row].pop(address)
        if not self._bound[row]:
            del self._bound[row]
        for worker in self._pool.everyone:
            worker.seats.get(row, {}).pop(address, None)
            worker.send({"op": "unlisten", "row": row, "address": str(address)})
        self._spare[address] = sockets

    def leave(self, row: int) -> None:
        """The frontend is gone: its workers have been told so, and listen no more."""
        self._spare.update(self._bound.pop(row, {}))
        for worker in self._pool.everyone:
            worker.seats.pop(row, None)

    def fits(self, row: int, address: Address, *, dual: bool) -> bool:
        """Whether the frontend listens there already, and as it should."""
        return address in self._bound.get(row, ()) and dual == (address in self._dual)

    async def listen(self, wanted: list[Wanted]) -> dict[int, list[ListenError]]:
        """Bind these, taking spare sockets where they fit, so that an address that goes from one
        frontend to another is never closed in between. What can't be bound, by row."""
        errors: dict[int, list[ListenError]] = {}
        missing = []
        for row, address, dual in wanted:
            if address in self._spare and dual == (address in self._dual):
                self._bound.setdefault(row, {})[address] = self._spare.pop(address)
                try:
                    self.fill(row, address)
                except ListenFailedError as failure:
                    errors.setdefault(row, []).append(failure.error)
            else:
                missing.append((row, address, dual))
        await self.close_spare()
        if not missing:
            return errors
        ours = self._inodes()
        for count, (row, address, dual) in enumerate(missing, 1):
            try:
                opened = open_listeners(address, self._pool.count, dual_stack=dual, ours=ours)
            except ListenFailedError as failure:
                errors.setdefault(row, []).append(failure.error)
            else:
                ours.update(inode_of(sock) for sock in opened)
                self._bound.setdefault(row, {})[address] = dict(enumerate(opened))
                (self._dual.add if dual else self._dual.discard)(address)
                for seat in range(len(opened)):
                    self._give(self._pool.active[seat], row, address, seat)
            if count % BATCH == 0:
                self._pool.flush()
                await asyncio.sleep(0)
        return errors

    async def close_spare(self) -> None:
        """Give up addresses that nobody wants now. They are free when this returns."""
        if not self._spare:
            return
        for sockets in self._spare.values():
            for sock in sockets.values():
                sock.close()
        self._spare.clear()
        await self._commit()  # the workers have closed theirs too

    # -- who serves what -------------------------------------------------------

    def fill(self, row: int, address: Address) -> None:
        """Have a seat for every worker, each served by its own. A worker that served it before
        stops only after the new one was told. Errors: ListenFailedError, and then the seats that
        there are, are served."""
        pool, sockets = self._pool, self._bound[row][address]
        missing = [seat for seat in range(pool.count) if seat not in sockets]
        failure: ListenFailedError | None = None
        if missing:
            dual = address in self._dual
            try:
                opened = open_listeners(address, len(missing), dual_stack=dual, ours=self._inodes())
                sockets.update(zip(missing, opened, strict=True))
            except ListenFailedError as error:
                failure = error
        for seat in sockets:
            owner = pool.active[seat % pool.count]
            self._give(owner, row, address, seat)
            for worker in pool.active:
                if worker is not owner and seat in (of := _of(worker, row, address)):
                    of.discard(seat)
                    message = {"op": "unlisten", "row": row, "address": str(address), "seat": seat}
                    worker.send(message)
        if failure is not None:
            raise failure

    def fill_all(self) -> dict[int, list[ListenError]]:
        """`fill` every address. What failed, by row."""
        errors: dict[int, list[ListenError]] = {}
        for row, addresses in self._bound.items():
            for address in addresses:
                try:
                    self.fill(row, address)
                except ListenFailedError as failure:
                    errors.setdefault(row, []).append(failure.error)
        return errors

    def introduce(self, worker: WorkerProcess) -> None:
        """Give a new worker the seats that are its own."""
        count = self._pool.count
        for row, addresses in self._bound.items():
            for address, sockets in addresses.items():
                for seat in sockets:
                    if seat % count == worker.index:
                        self._give(worker, row, address, seat)

    def _give(self, worker: WorkerProcess, row: int, address: Address, seat: int) -> None:
        of = worker.seats.setdefault(row, {}).setdefault(address, set())
        if worker.alive and seat not in of:
            of.add(seat)
            message = {"op": "listen", "row": row, "address": str(address), "seat": seat}
            worker.send(message, self._bound[row][address][seat].fileno())

    def _inodes(self) -> set[int]:
        return {
            inode_of(sock)
            for addresses in self._bound.values()
            for sockets in addresses.values()
            for sock in sockets.values()
        }

    def close_for_good(self) -> None:
        """Close every socket here; workers are to take who is in the queues, and close theirs."""
        for addresses in self._bound.values():
            for sockets in addresses.values():
                for sock in sockets.values():
                    ignore_new_clients(sock)
        self.close()

    def close(self) -> None:
        """Close every socket here; a worker's copies are its own."""
        for addresses in self._bound.values():
            self._spare.update(addresses)
        for sockets in self._spare.values():
            for sock in sockets.values():
                sock.close()
        self._bound.clear()
        self._spare.clear()


def _of(worker: WorkerProcess, row: int, address: Address) -> set[int]:
    return worker.seats.get(row, {}).get(address, set())


def _is_dual(sock: socket.socket) -> bool:
    if sock.family != socket.AF_INET6:
        return False
    return not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
