"""Sends packets through a rendered table, as the kernel would: hooks, connection tracking, NAT.

Knows the expressions that the kernel plane writes, and fails on any other. `Edge.send` takes a
client's packet and says what became of it; what is tracked stays tracked, so that answers and
later packets find their way.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from nplb.dataplane.kernel.ruleset import Ruleset

_FAMILY = {"ip": 4, "ip6": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet as it arrives. TCP flags as nft writes them."""

    src: str
    dst: str
    dport: int
    sport: int = 40000
    proto: str = "tcp"
    flags: frozenset[str] = frozenset({"syn"})

    @property
    def family(self) -> int:
        return 6 if ":" in self.src else 4

    @property
    def answer(self) -> "Packet":
        """What the receiver of this one sends back."""
        return replace(
            self,
            src=self.dst,
            dst=self.src,
            sport=self.dport,
            dport=self.sport,
            flags=frozenset({"syn", "ack"}),
        )


@dataclass(slots=True)
class _Connection:
    """One tracked connection: as the client sent it, and as it leaves."""

    original: Packet
    leaving: Packet
    dnat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a packet. `verdict` is accept, drop, reject or local (the edge's own
    sockets get it); `packet` as it went on; `chains` that it was in."""

    verdict: str
    packet: Packet
    chains: tuple[str, ...]


class _EndError(Exception):
    """A verdict that ends a hook's chain."""

    def __init__(self, verdict: str) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class _ReturnError(Exception):
    """Back to the chain that jumped here."""


@dataclass
class _Context:
    packet: Packet
    connection: _Connection | None
    new: bool
    reply: bool
    chains: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        if self.connection is None:
            return "invalid"
        return "new" if self.new else "established"


class Edge:
    """An edge with a table. `addresses` are its own; `masked` is what masquerading gives."""

    def __init__(self, table: Ruleset, *, addresses: tuple[str, ...]) -> None:
        self.table = table
        self.addresses = addresses
        self.counters: Counter[str] = Counter()
        self.counted: Counter[tuple[str, str]] = Counter()  # elements of dynamic sets
        self.remembered: dict[tuple[str, str], str] = {}  # elements of dynamic maps
        self._connections: list[_Connection] = []
        self._turns: Counter[str] = Counter()
        self._limited: dict[tuple[str, str], list[_Connection]] = {}
        self._rng = random.Random(1)
        self._ports = iter(range(50000, 60000))

    # -- the way of a packet ------------------------------------------------------------

    def send(self, packet: Packet, *, local: bool = False, forwarded: bool = True) -> Outcome:
        """A packet of a client; `local`: of the edge's own program. `forwarded` false stops
        where another table would drop it: after our rules have looked, before they count."""
        connection, reply, new = self._track(packet)
        at = _Context(packet=packet, connection=connection, new=new, reply=reply)
        first = "output" if local else "prerouting"
        try:
            self._hook(at, "filter", first)
            if connection is not None:
                if new:
                    self._hook(at, "nat", first)
                elif reply:
                    at.packet = replace(
                        at.packet, dst=connection.original.src, dport=connection.original.sport
                    )
                else:
                    leaving = connection.leaving
                    at.packet = replace(at.packet, dst=leaving.dst, dport=leaving.dport)
            if at.packet.dst in self.addresses:
                self._hook(at, "filter", "input")
                return Outcome(verdict="local", packet=at.packet, chains=tuple(at.chains))
            self._hook(at, "filter", "output after nat" if local else "forward")
            if new:
                self._hook(at, "nat", "postrouting")
            at.packet = self._rewritten(at)
        except _EndError as end:
            return Outcome(verdict=end.verdict, packet=at.packet, chains=tuple(at.chains))
        if connection is not None and new:
            self._connections.append(connection)
        return Outcome(verdict="accept", packet=at.packet, chains=tuple(at.chains))

    def forget(self) -> None:
        """Every tracked connection ends."""
        self._connections.clear()

    def _rewritten(self, at: _Context) -> Packet:
        """Source addresses as they leave."""
        connection = at.connection
        if connection is None:
            return at.packet
        if at.reply:
            original = connection.original
            return replace(at.packet, src=original.dst, sport=original.dport)
        if at.new:
            connection.leaving = at.packet
        leaving = connection.leaving
        return replace(at.packet, src=leaving.src, sport=leaving.sport)

    def _track(self, packet: Packet) -> tuple[_Connection | None, bool, bool]:
        for each in self._connections:
            if _ends(each.original) == _ends(packet):
                return each, False, False
            if _ends(each.leaving.answer) == _ends(packet):
                return each, True, False
        if packet.proto == "tcp" and ({"syn", "ack"} <= packet.flags or "rst" in packet.flags):
            return None, False, False  # an answer to nothing
        return _Connection(original=packet, leaving=packet), False, True

    def _hook(self, at: _Context, kind: str, hook: str) -> None:
        """Every base chain of a kind at a hook, in the order of their priorities."""
        place, after = hook.removesuffix(" after nat"), hook.endswith(" after nat")
        for name, chain in self.table.chains.items():
            words = chain.hook.split()
            if words[1:2] != [kind] or words[3] != place:
                continue
            if kind == "filter" and place == "output" and after is not ("filter" in words[5:]):
                continue
            try:
                self._chain(at, name)
            except _ReturnError:
                continue
            except _EndError as end:
                if end.verdict != "accept":
                    raise

    def _chain(self, at: _Context, name: str) -> None:
        at.chains.append(name)
        for rule in self.table.chains[name].rules or ():
            _Rule(self, at, name, rule).run()

    def _verdict(self, at: _Context, verdict: str) -> None:
        word, _, chain = verdict.partition(" ")
        if word == "goto":
            self._chain(at, chain)
            raise _ReturnError
        if word == "jump":
            try:
                self._chain(at, chain)
            except _ReturnError:
                return
        elif word == "return":
            raise _ReturnError
        else:
            raise _EndError(word)


class _Rule:
    """One rule on one packet: its words from left to right, until one does not match."""

    def __init__(self, edge: Edge, at: _Context, chain: str, rule: str) -> None:
        self._edge = edge
        self._at = at
        self._chain = chain
        self._text = rule
        self._words = rule.split()

    def run(self) -> None:
        while self._words:
            if not self._statement():
                return

    def _take(self, *expected: str) -> str:
        word = self._words.pop(0)
        assert not expected or word in expected, f"{word} in {self._text}"
        return word

    def _statement(self) -> bool:
        word = self._words[0]
        if word == "ct":
            return self._ct()
        if word == "tcp":
            return self._tcp_flags()
        if word == "fib":
            return self._fib()
        if word in ("update", "add"):
            return self._update()
        if word == "counter":
            self._take()
            self._take("name")
            self._edge.counters[self._take().strip('"')] += 1
            return True
        if word == "dnat":
            return self._dnat()
        if word == "masquerade":
            self._words.clear()
            at = self._at
            at.packet = replace(at.packet, src="edge", sport=next(self._edge._ports))
            return True
        if word in ("return", "drop", "accept", "reject", "goto", "jump"):
            verdict = " ".join(self._words[:2]) if word in ("goto", "jump") else word
            self._words = self._words[2:] if word == "jump" else []
            self._edge._verdict(self._at, verdict)
            return True
        return self._match()

    def _ct(self) -> bool:
        self._take()
        what, value = self._take("state", "status", "direction"), self._take()
        if what == "state":
            return self._at.state == value
        connection = self._at.connection
        if connection is None:
            return False
        if what == "status":
            assert value == "dnat"
            return connection.dnat
        return value == ("reply" if self._at.reply else "original")

    def _tcp_flags(self) -> bool:
        packet = self._at.packet
        self._take("tcp"), self._take("flags")
        if self._take("!=", "rst") == "rst":
            return packet.proto == "tcp" and "rst" in packet.flags
        self._take("syn"), self._take("/")
        mask = set(self._take().split(","))
        return packet.proto == "tcp" and packet.flags & mask != {"syn"}

    def _fib(self) -> bool:
        self._take()
        side = self._take("saddr", "daddr")
        self._take("type")
        wanted = self._words[0] != "!="
        if not wanted:
            self._take()
        self._take("local")
        packet = self._at.packet
        ip = packet.src if side == "saddr" else packet.dst
        return (ip in self._edge.addresses) is wanted

    def _value(self) -> str | None:
        """One value of the packet; None if it is of another family."""
        packet = self._at.packet
        word = self._take("ip", "ip6", "meta", "th", "numgen", "jhash")
        if word in _FAMILY:
            side = self._take("saddr", "daddr")
            if packet.family != _FAMILY[word]:
                return None
            return packet.src if side == "saddr" else packet.dst
        if word == "meta":
            what = self._take("l4proto", "nfproto")
            return packet.proto if what == "l4proto" else f"ipv{packet.family}"
        if word == "th":
            return str(packet.dport if self._take("dport", "sport") == "dport" else packet.sport)
        if word == "numgen":
            how = self._take("inc", "random")
            self._take("mod")
            count = int(self._take())
            rule = f"{self._chain} {count}"  # no chain has two of one size
            turn = self._edge._turns[rule]
            self._edge._turns[rule] += 1
            return str(turn % count if how == "inc" else self._edge._rng.randrange(count))
        source = self._value()
        self._take("mod")
        count = int(self._take())
        self._take("seed")
        return str(random.Random(f"{self._take()} {source}").randrange(count))

    def _key(self) -> str | None:
        """Values joined by dots."""
        parts = [self._value()]
        while self._words and self._words[0] == ".":
            self._take()
            parts.append(self._value())
        return None if None in parts else " . ".join(part for part in parts if part is not None)

    def _match(self) -> bool:
        key = self._key()
        word = self._take()
        if word == "vmap":
            verdict = self._elements(self._take()).get(key or "")
            if verdict is not None:
                self._edge._verdict(self._at, verdict)
            return True
        wanted = word != "!="
        if not wanted:
            word = self._take()
        if key is None:
            return False
        if word == "{":
            texts: list[str] = []
            while (text := self._take()) != "}":
                texts.append(text.rstrip(","))
            return _within(key, texts) is wanted
        if word.startswith("@"):
            found = self._known(word[1:], key)
            if found and self._edge.table.sets[word[1:]].dynamic:
                self._edge.counted[word[1:], key] += 1
            return found is wanted
        return _within(key, [word]) is wanted

    def _elements(self, name: str) -> Mapping[str, str]:
        return self._edge.table.sets[name.removeprefix("@")].elements

    def _known(self, name: str, key: str) -> bool:
        each = self._edge.table.sets[name]
        if each.dynamic:
            return (name, key) in self._edge.counted
        if any("interval" in option for option in each.options):
            return _within(key, list(each.elements))
        return key in each.elements

    def _update(self) -> bool:
        self._take()
        name = self._take().removeprefix("@")
        self._take("{")
        key = self._key()
        end = self._words.index("}")
        what, self._words = self._words[:end], self._words[end + 1 :]
        if key is None:
            return False
        if what[:1] == ["timeout"] and what[2:3] == [":"]:
            packet = self._at.packet
            self._edge.remembered[name, key] = packet.dst
            return True
        text = " ".join(what)
        if text == "counter":
            self._edge.counted[name, key] += 1
            return True
        connection = self._at.connection
        assert connection is not None
        if text.startswith("ct count over "):
            living = self._edge._limited.setdefault((name, key), [])
            living[:] = [c for c in living if c in self._edge._connections]
            living.append(connection)
            return len(living) > int(what[-1])
        assert "limit rate over" in text, text
        self._edge._turns[f"{name} {key}"] += 1
        return self._edge._turns[f"{name} {key}"] > int(what[what.index("burst") + 1])

    def _dnat(self) -> bool:
        self._take()
        family = _FAMILY[self._take("ip", "ip6")]
        self._take("to")
        value = self._value()
        self._take("map")
        name = self._take().removeprefix("@")
        self._take(":")
        port = self._port()
        at = self._at
        if value is None or port is None or at.packet.family != family:
            return False
        each = self._edge.table.sets[name]
        kept = self._edge.remembered if each.dynamic else None
        ip = kept.get((name, value)) if kept is not None else each.elements.get(value)
        if ip is None:
            return False
        assert at.connection is not None
        at.connection.dnat = True
        at.packet = replace(at.packet, dst=ip, dport=port)
        raise _EndError("accept")

    def _port(self) -> int | None:
        """A number, or what a map says of the packet."""
        if self._words[0].isdigit():
            return int(self._take())
        key = self._key()
        self._take("map")
        found = self._elements(self._take()).get(key or "")
        return None if found is None else int(found)


def _ends(packet: Packet) -> tuple[str, str, int, str, int]:
    return packet.proto, packet.src, packet.sport, packet.dst, packet.dport


def _within(value: str, texts: list[str]) -> bool:
    try:
        address = ip_address(value)
    except ValueError:
        return value in texts
    for text in texts:
        first, dash, last = text.partition("-")
        if dash:
            low, high = ip_address(first), ip_address(last)
            if low.version == address.version and int(low) <= int(address) <= int(high):
                return True
        elif address in ip_network(text):
            return True
    return False
