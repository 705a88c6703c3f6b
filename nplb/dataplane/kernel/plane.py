"""`KernelPlane`: takes plans and keeps one nftables table as they say."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.dataplane.kernel import conntrack, netlink
from nplb.dataplane.kernel.admission import admit
from nplb.dataplane.kernel.adoption import Seated, hold_over, seated
from nplb.dataplane.kernel.changes import replacement, transaction
from nplb.dataplane.kernel.fastpath import fastpath
from nplb.dataplane.kernel.fastpath.fastpath import FastPath
from nplb.dataplane.kernel.flows import Due, Leavers, Source
from nplb.dataplane.kernel.host import examine, require
from nplb.dataplane.kernel.meters import SETS, Meters, element, fast_reading, reading
from nplb.dataplane.kernel.names import Names, identity
from nplb.dataplane.kernel.nft import Nft, NftError
from nplb.dataplane.kernel.readback import damage, element_text, found_table
from nplb.dataplane.kernel.render import Renderer
from nplb.dataplane.kernel.ruleset import TABLE, Ruleset
from nplb.dataplane.kernel.serving import FAMILIES, canonical, family_of, serving
from nplb.dataplane.kernel.wayback import WayBack, way_back_notes
from nplb.model.applied import Applied, Traffic
from nplb.model.errors import HostError
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend, Plan
from nplb.policy.kernel import is_fast

log = logging.getLogger(__name__)

# When a port that somebody else holds is tried again.
RETRY_SECONDS = 5.0
# A connection whose first packet met the old rules may appear just after the first sweep.
SECOND_SWEEP_SECONDS = 1.0
SWEEPS = 2
# Counters are read at most this often while somebody looks at them, and reading takes at most a
# share of the time. Nobody has looked for a while: they are read now and then.
METER_SECONDS = 1.0
METER_SHARE = 0.05
METER_IDLE_SECONDS = 10.0
LOOKED_SECONDS = 60.0
# How often the kernel is asked whether somebody else has written rules.
WATCH_SECONDS = 1.0


class KernelPlane:
    """One nftables table, kept as the plans say.

    Rules and connections live in the kernel: `stop` leaves both as they are, `flush` removes
    the table. `on_damage` is called when somebody else has written rules, so that the owner
    applies the plan again. Every method must be called in one event loop, in the network
    namespace that is to be served.
    """

    def __init__(
        self,
        *,
        nft: Nft | None = None,
        now: Callable[[], float] = time.time,
        on_damage: Callable[[], None] | None = None,
    ) -> None:
        self._nft = nft or Nft()
        self._now = now
        self._on_damage = on_damage
        self._lock = asyncio.Lock()
        self._tasks = TaskOwner("kernel-plane")
        self._renderer = Renderer()
        self._fast_path = FastPath()
        self._fast_path_said = ""
        self._leavers = Leavers()
        self._meters = Meters()
        self._way_back = WayBack()
        self._way_back_said = False
        self._have: Ruleset | None = None  # None: not known, the kernel is asked
        self._generation = -1
        self._frontends: tuple[Frontend, ...] = ()
        self._chosen: dict[str, frozenset[str]] = {}
        self._adopted: Seated | None = None
        self._sweeps: dict[Source, int] = {}
        self._traffic = Traffic()
        self._looked = float("-inf")

    async def start(self, *, fast_path: bool = False) -> None:
        """Check the edge, and begin to read counters and to watch for damage. `fast_path` says
        whether the edge must have what kernel.fast_path needs.

        Errors: HostPermissionError that names every right and feature that is missing.
        """
        require(await asyncio.to_thread(examine), fast_path=fast_path)
        self._tasks.spawn(self._read_meters(), "meters")
        self._tasks.spawn(self._watch(), "watch")

    async def stop(self) -> None:
        """End what runs here. The rules stay: they serve without nplb."""
        await self._tasks.close()
        self._fast_path.close()

    async def apply(self, plan: Plan) -> Applied:
        """Make the table as the plan says, by the difference alone where the table is known
        and by a whole pass where it is not.

        Errors: HostError when nft refuses the whole table too; the rules before stay.
        """
        async with self._lock:
            return await self._apply(plan)

    def traffic(self) -> Traffic:
        """All counters as they were read last."""
        self._looked = time.monotonic()
        return self._traffic

    async def flush(self) -> bool:
        """Remove the table. Returns whether there was one. What is left is nothing: neither
        rules nor sets, and connections end since nothing translates them any more."""
        async with self._lock:
            self._have, self._generation = None, -1
            self._fast_path.close()
            self._meters.settle_fast_path()
            return bool(await delete_table(self._nft))

    # -- applying -----------------------------------------------------------

    async def _apply(self, plan: Plan) -> Applied:
        errors, frontends = await admit(plan.frontends, self._frontends)
        found, known = await self._known(frontends)
        if not frontends and found is None and not self._frontends:
            await self._speed_up()  # somebody may have deleted the table alone
            return Applied(generation=plan.generation, listen_errors=errors)
        await self._say_way_back(frontends)
        held = [hold_over(frontend, self._adopted or {}) for frontend in frontends]
        want = self._renderer.render(held, await self._table_ports(held))
        text = await asyncio.to_thread(transaction, found, want)
        # While nft works: both take long where there are many frontends.
        failure, due = await asyncio.gather(
            self._write(text, want, known=known),
            asyncio.to_thread(self._leavers.observe, held, self._now()),
            return_exceptions=True,
        )
        # Not before both have ended: what still went on would meet the next pass.
        for each in (failure, due):
            if isinstance(each, BaseException):
                raise each
        assert isinstance(due, Due)
        self._have = want
        await self._speed_up()
        await self._forget_stale_udp(held)
        self._frontends = tuple(held)
        await self._clean_affinity(held)
        retry = await self._end_flows(due)
        if errors:
            retry = min(retry or RETRY_SECONDS, RETRY_SECONDS)
        return Applied(generation=plan.generation, listen_errors=errors, retry_seconds=retry)

    async def _table_ports(self, frontends: Iterable[Frontend]) -> tuple[int, int] | None:
        """The source ports that are left to the table, where some are the fast path's."""
        if not self._fast_path.on and not any(is_fast(frontend) for frontend in frontends):
            return None
        try:
            return await asyncio.to_thread(fastpath.table_ports)
        except HostError:
            return None  # it will say so itself

    async def _speed_up(self) -> None:
        """Let the fast path take what it may. What it can't take goes by the table."""
        fast = [each for each in self._renderer.rendered if is_fast(each.frontend)]
        wrong = ""
        try:
            await asyncio.to_thread(self._fast_path.apply, fast)
        except HostError as error:
            wrong = str(error)
        if wrong and wrong != self._fast_path_said:
            log.warning("connections go by the table, without the fast path: %s", wrong)
        self._fast_path_said = wrong

    async def _say_way_back(self, frontends: list[Frontend]) -> None:
        """Once, when the first frontend comes that keeps clients' addresses."""
        if self._way_back_said or all(frontend.kernel.masquerade for frontend in frontends):
            return
        self._way_back_said = True
        for note in way_back_notes(await asyncio.to_thread(examine)):
            log.warning("kernel.masquerade is false: %s", note)

    async def _known(self, frontends: Iterable[Frontend]) -> tuple[Ruleset | None, bool]:
        """What the table holds, and whether that was known without asking: nobody has written
        rules since. None if there is no table, or one that must be replaced whole."""
        if self._have is not None:
            if await asyncio.to_thread(netlink.generation) == self._generation:
                return self._have, True
            log.debug("somebody else has written nftables rules: reading ours back")
        want = self._have if self._have is not None else self._renderer.render(frontends)
        found = None
        for _ in range(5):
            before = await asyncio.to_thread(netlink.generation)
            things = await self._list_table()
            found = found_table(things, want)
            self._generation = await asyncio.to_thread(netlink.generation)
            if before == self._generation:
                break
        if self._adopted is None:
            self._adopted = seated(found) if found is not None else {}
        if self._have is not None:
            wrong = ["the table is missing"] if found is None else damage(found, self._have)
            if not wrong:
                return self._have, True
            log.warning("the table %s was damaged, and is repaired: %s", TABLE, "; ".join(wrong))
        self._have = None
        if found is None:
            return None, False
        if not found.known_shape:
            log.info("the table %s is of another version or damaged: it is replaced", TABLE)
            return None, False
        return found.ruleset, False

    async def _list_table(self) -> list[dict[str, Any]]:
        try:
            return await self._nft.listing("table", *TABLE.split())
        except NftError as error:
            if error.missing:
                return []
            raise

    async def _write(self, text: str, want: Ruleset, *, known: bool) -> None:
        """Check, then apply. What nft refuses is tried once more as a whole table."""
        if not text:
            if not known:
                self._generation = await asyncio.to_thread(netlink.generation)
            return
        before = self._generation
        self._have = None
        try:
            await self._nft.check(text)
            await self._nft.apply(text)
        except NftError as error:
            log.warning("the change was refused, the whole table is written: %s", error)
            whole = replacement(want)
            await self._nft.check(whole)
            await self._nft.apply(whole)
            before = -1
        self._generation = await asyncio.to_thread(netlink.generation)
        if before >= 0 and self._generation != before + 1:
            self._generation = -1  # somebody wrote between: the next pass looks

    # -- what follows a change ----------------------------------------------

    async def _end_flows(self, due: Due) -> float | None:
        """End the connections whose time has come. Returns when to look again."""
        self._sweeps = {s: n for s, n in self._sweeps.items() if s in due.sources}
        todo = frozenset(s for s in due.sources if self._sweeps.get(s, 0) < SWEEPS)
        if not todo:
            return due.next_seconds
        ended = await asyncio.to_thread(
            conntrack.end, lambda _: True, lambda *answers: answers in todo
        )
        fast = {(canonical(ip), port) for protocol, ip, port in todo if protocol is Protocol.TCP}
        ended += await asyncio.to_thread(self._fast_path.end, fast)
        if ended:
            log.info("ended %d connections of backends that left", ended)
        for each in todo:
            self._sweeps[each] = self._sweeps.get(each, 0) + 1
        self._leavers.forget(s for s in todo if self._sweeps[s] >= SWEEPS)
        waiting = any(count < SWEEPS for count in self._sweeps.values())
        moments = [due.next_seconds, SECOND_SWEEP_SECONDS if waiting else None]
        return min((m for m in moments if m is not None), default=None)

    async def _forget_stale_udp(self, frontends: list[Frontend]) -> None:
        """A UDP client that asked before its frontend was there has a tracked flow to nobody,
        which would go on past the rules for as long as it keeps asking."""
        before = {a for f in self._frontends if _is_udp(f) for a in f.listen}
        new = {a for f in frontends if _is_udp(f) for a in f.listen} - before
        wanted = {(None if a.ip in ("0.0.0.0", "::") else canonical(a.ip), a.port) for a in new}
        if wanted:
            await asyncio.to_thread(conntrack.forget_untranslated, Protocol.UDP, wanted)

    async def _clean_affinity(self, frontends: list[Frontend]) -> None:
        """Clients are not remembered for a backend that serves no more."""
        before, self._chosen = self._chosen, {}
        for frontend in frontends:
            if not frontend.relay.affinity_seconds:
                continue
            for number in FAMILIES:
                name = Names(identity(frontend.key), number).affinity
                chosen = frozenset(
                    canonical(b.key.address.ip)
                    for b in serving(frontend)
                    if family_of(b.key.address.ip) == number
                )
                self._chosen[name] = chosen
                if name in before and before[name] <= chosen:
                    continue
                if any(family_of(a.ip) == number for a in frontend.listen):
                    await self._forget_clients(name, chosen)

    async def _forget_clients(self, name: str, chosen: frozenset[str]) -> None:
        (listed, *_) = [
            t["map"] for t in await self._nft.listing("map", *TABLE.split(), name) if "map" in t
        ]
        stale = [
            element_text(key)
            for key, data in listed.get("elem", ())
            if element_text(data) not in chosen
        ]
        for start in range(0, len(stale), 1000):
            keys = ", ".join(stale[start : start + 1000])
            try:
                await self._nft.apply(f"delete element {TABLE} {name} {{ {keys} }}\n")
            except NftError as error:
                if not error.missing:
                    raise
                # One has timed out meanwhile, and a transaction is all or nothing.
                for key in stale[start : start + 1000]:
                    await self._delete_quietly(name, key)
            self._generation = await asyncio.to_thread(netlink.generation)

    async def _delete_quietly(self, name: str, key: str) -> None:
        try:
            await self._nft.apply(f"delete element {TABLE} {name} {{ {key} }}\n")
        except NftError as error:
            if not error.missing:
                raise

    # -- counters and damage ------------------------------------------------

    async def read_counters(self) -> Traffic:
        """Read every counter now."""
        if self._have is None:
            return self._traffic
        frontends = self._frontends
        wanted = {element(b) for f in frontends for b in f.backends}
        try:
            things = await self._nft.listing_many(
                [*(f"set {TABLE} {name}" for name in SETS), f"counters table {TABLE}"]
            )
            counted, unanswered = await asyncio.to_thread(survey, wanted)
            fast = await asyncio.to_thread(self._fast_path.read)
        except NftError as error:
            if not error.missing:
                raise
            return self._traffic  # somebody took the table away; the next pass repairs it
        for warning in self._way_back.observe(frontends, unanswered, self._now()):
            log.warning("%s", warning)
        self._meters.take(reading(things))
        self._meters.take(fast_reading(fast.counts))
        for (ip, port), count in fast.live.items():
            key = f"{ip} . tcp . {port}"
            counted[key] = counted.get(key, 0) + count
        self._traffic = replace(
            self._meters.traffic(frontends, counted),
            fast_path=self._meters.fast_path(fast.connections, fast.events),
        )
        if fast.final:
            self._meters.settle_fast_path()
        return self._traffic

    async def _read_meters(self) -> None:
        wait = METER_SECONDS
        while True:
            await asyncio.sleep(wait)
            began = time.monotonic()
            try:
                await self.read_counters()
            except Exception:
                log.exception("the kernel's counters could not be read; the last ones stay")
            ended = time.monotonic()
            idle = ended - self._looked > LOOKED_SECONDS
            often = METER_IDLE_SECONDS if idle else METER_SECONDS
            wait = max(often, (ended - began) / METER_SHARE)

    async def _watch(self) -> None:
        """Tell the owner when somebody else has written rules."""
        told = -1
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._on_damage is None or self._have is None or self._lock.locked():
                continue
            current = await asyncio.to_thread(netlink.generation)
            if current not in (self._generation, told):
                told = current
                self._on_damage()


async def left_behind() -> bool:
    """Whether a table of ours or a fast path is there, which an earlier process may have left.
    False too where that can't be asked for want of a right or of nft."""
    if await asyncio.to_thread(fastpath.left_behind):
        return True
    try:
        things = await Nft().listing("tables")
    except HostError:
        return False
    family, name = TABLE.split()
    tables = (thing["table"] for thing in things if "table" in thing)
    return any(table["family"] == family and table["name"] == name for table in tables)


async def delete_table(nft: Nft) -> list[str]:
    """Remove our table and the fast path, and nothing else. Returns which of them there were, for
    people."""
    fast = ["the fast path"] if await asyncio.to_thread(fastpath.remove) else []
    try:
        await nft.apply(f"delete table {TABLE}\n")
    except NftError as error:
        if error.missing:
            return fast
        raise
    return [f"the table {TABLE}", *fast]


def survey(wanted: set[str]) -> tuple[dict[str, int], dict[Source, frozenset[bytes]]]:
    """Of the backends that are wanted: open connections by element text, and which connections
    have no answer yet."""
    counts: dict[str, int] = {}
    unanswered: dict[Source, set[bytes]] = {}

    def only(protocol: Protocol, ip: str, port: int) -> bool:
        return f"{ip} . {protocol.lower()} . {port}" in wanted

    for entry in conntrack.tracked(only):
        if not entry.answered:
            at = (entry.protocol, *entry.backend)
            unanswered.setdefault(at, set()).add(entry.tuple_bytes)
        if entry.live:
            key = f"{entry.backend.ip} . {entry.protocol.lower()} . {entry.backend.port}"
            counts[key] = counts.get(key, 0) + 1
    return counts, {at: frozenset(those) for at, those in unanswered.items()}


def _is_udp(frontend: Frontend) -> bool:
    return frontend.key.protocol is Protocol.UDP
