"""Shows ledgers, single numbers and predictions to eyes. Documents are those of /api/v1/ports
and of `nplb ports check -o json`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from nplb.cli.portmap import BAND_COLOURS, Glyphs, band_map, legend, scale
from nplb.cli.table import BAD, DOUBTFUL, GOOD, Cell, age, counted, plain, table
from nplb.cli.views import findings_table

Document = Mapping[str, Any]

MAX_HOLDERS: Final = 30
MAX_NAMESPACES: Final = 10
_DAY: Final = 86400.0


def ledger_text(page: Document, ledger: Document, glyphs: Glyphs, *, every: bool) -> str:
    """One cluster's ledger: numbers, map, what is wrong, and who holds what."""
    now = page.get("now") or ledger["observed_at"]
    return "\n\n".join(
        part
        for part in (
            "\n".join(_head(ledger, now)),
            "\n".join(_map(ledger, glyphs)),
            findings_table({"now": now, "findings": ledger["findings"]}),
            _namespaces(ledger),
            holders_table(ledger, now, every=every),
        )
        if part
    )


def _head(ledger: Document, now: float) -> Iterator[str]:
    share = ledger["used"] / ledger["size"] if ledger["size"] else 0
    name = click.style(plain(ledger["cluster"]), bold=True)
    yield (
        f"{name}: {ledger['port_range']}, {ledger['used']:,} of {ledger['size']:,} used "
        f"({share:.1%}), {ledger['free']:,} free"
    )
    if ledger.get("limited_to"):
        seen = f"only {plain(ledger['limited_to'])} is seen: numbers held elsewhere show as free"
        yield click.style(seen, fg=DOUBTFUL)
    rows: list[list[str | Cell]] = [
        [
            Cell(band["band"], BAND_COLOURS[band["band"]]),
            f"{band['first']}-{band['last']}",
            f"{band['size']:,}",
            f"{band['used']:,}",
            Cell(f"{band['free']:,}", "" if band["free"] else BAD),
            _trend(band, now),
        ]
        for band in ledger["bands"]
    ]
    yield table(["BAND", "NUMBERS", "SIZE", "USED", "FREE", "TREND"], rows)


def _trend(band: Document, now: float) -> str | Cell:
    """How it fills; nothing before it has been watched for some minutes."""
    rate = band["per_hour"]
    if not band["free"]:
        return Cell("full", BAD)
    if rate is None:
        return ""
    if abs(rate) < 0.005:
        return "steady"
    each = f"{rate:+.1f} an hour" if abs(rate) >= 1 else f"{rate * 24:+.1f} a day"
    if band["full_at"] is None:
        return each
    left = band["full_at"] - now
    text = f"{each}, full in {age(left)}"
    return Cell(text, DOUBTFUL if left < _DAY else "")


def _map(ledger: Document, glyphs: Glyphs) -> Iterator[str]:
    entries = ledger["entries"]
    used = {entry["number"] for entry in entries}
    conflicts = {entry["number"] for entry in entries if len(entry["holders"]) > 1}
    cells = []
    for band in ledger["bands"]:
        cells.append(scale(band["size"]))
        yield from band_map(
            first=band["first"],
            last=band["last"],
            used=used,
            conflicts=conflicts,
            colour=BAND_COLOURS[band["band"]],
            glyphs=glyphs,
        )
        yield f"       {click.style(band['band'], fg=BAND_COLOURS[band['band']])}: " + legend(
            cells[-1], glyphs
        )


def _namespaces(ledger: Document) -> str:
    spaces = sorted(ledger["namespaces"], key=lambda one: (-one["used"], one["namespace"]))
    shown = spaces[:MAX_NAMESPACES]
    text = table(
        ["NAMESPACE", "USED", "TREND"],
        [
            [
                one["namespace"],
                f"{one['used']:,}",
                "" if one["per_hour"] is None else f"{one['per_hour'] * 24:+.1f} a day",
            ]
            for one in shown
        ],
    )
    hidden = len(spaces) - len(shown)
    return f"{text}\nand {counted(hidden, 'namespace')} more" if hidden else text


def holders_table(ledger: Document, now: float, *, every: bool) -> str:
    """Each number that is taken, with who has it for what."""
    entries = ledger["entries"]
    shown = entries if every else entries[:MAX_HOLDERS]
    rows = [row for entry in shown for row in _entry_rows(entry, now)]
    text = table(["NUMBER", "BAND", "HOLDER", "FOR", "SINCE"], rows)
    hidden = len(entries) - len(shown)
    return f"{text}\nand {counted(hidden, 'number')} more (--all shows them)" if hidden else text


def _entry_rows(entry: Document, now: float) -> Iterator[list[str | Cell]]:
    number = str(entry["number"])
    band: str | Cell = Cell(entry["band"], BAND_COLOURS[entry["band"]])
    if not entry["holders"]:
        yield [number, band, Cell("nobody (leaked)", DOUBTFUL), "", _since(entry, now)]
    for index, holder in enumerate(entry["holders"]):
        name = f"{holder['service']['namespace']}/{holder['service']['name']}"
        if index:
            number, band = "", Cell("also", BAD)
        yield [number, band, name, purpose(holder), _since(holder, now)]


def _since(one: Document, now: float) -> str:
    """How long; nothing for what was seen this moment for the first time."""
    seconds = now - one["since"]
    return age(seconds) if seconds >= 1 else ""


def purpose(holder: Document) -> str:
    """What a holder has a number for: `http 80/TCP, health check`."""
    uses = [f"{p['name']} {p['port']}/{p['protocol']}".strip() for p in holder["ports"]]
    return ", ".join([*uses, *(["health check"] if holder["health_check"] else [])])


def edge_text(page: Document) -> str:
    """The edge's own ledger, of a running nplb: what it listens on, who is in its way."""
    edge = page.get("edge") or {}
    if not edge.get("ports") and not edge.get("findings"):
        return ""
    head = (
        f"{click.style('edge', bold=True)}: frontends listen on "
        f"{counted(len(edge['ports']), 'address', 'addresses')}"
    )
    ephemeral = edge.get("ephemeral")
    if ephemeral:
        span = f"{ephemeral['low']}-{ephemeral['high']}"
        head += f"; the kernel gives ports {span} to outgoing connections"
        if ephemeral["reserved"]:
            head += f", but for {plain(ephemeral['reserved'])}"
    findings = {"now": page.get("now") or 0.0, "findings": edge["findings"]}
    return "\n\n".join(part for part in (head, findings_table(findings)) if part)


# -- one number ----------------------------------------------------------------


def number_text(shown: Document) -> str:
    """`nplb ports show`: one number in each cluster, on the edge and on this host."""
    number, now = shown["number"], shown["now"]
    lines: list[str] = []
    for one in shown["clusters"]:
        where = f"{plain(one['cluster'])}: {number} is "
        if one["band"] == "outside":
            where += f"outside of {one['port_range']}"
        else:
            where += f"in the {one['band']} band, "
            where += (
                click.style("taken", fg=DOUBTFUL) if one["entry"] else click.style("free", fg=GOOD)
            )
        lines.append(where)
        if one["entry"]:
            rows = list(_entry_rows(one["entry"], now))
            lines.append(table(["NUMBER", "BAND", "HOLDER", "FOR", "SINCE"], rows, indent="  "))
        elif one["band"] == "static":
            lines.append("  people choose from this band; automatic allocation leaves it alone")
        elif one["band"] == "dynamic":
            lines.append("  automatic allocation draws from this band, and may take it any time")
        lines += [f"  {plain(f['text'])}; {plain(f['remedy'])}" for f in one["findings"]]
    lines += [f"edge: {plain(port['holder'])} listens on it" for port in shown["edge"]]
    lines += [f"this host: {plain(text)}" for text in shown["host"]]
    return "\n".join(lines)


# -- predictions ---------------------------------------------------------------


def predictions_text(document: Document) -> str:
    """`nplb ports check`: an answer for each Service, and how many are accepted."""
    lines: list[str] = []
    rows = document["services"]
    width = max((len(_short(one)) for one in rows), default=0)
    for one in rows:
        name = plain(_short(one)).ljust(width)
        if one["accepted"]:
            verdict = (
                click.style("given up", fg=DOUBTFUL)
                if one["rolled_back"]
                else click.style("accepted", fg=GOOD)
            )
            lines.append(f"{verdict}  {name}  {'; '.join(_outcomes(one)) or 'needs no number'}")
            lines += [f"{'':10}{'':{width}}  {text}" for text in _risks(one)]
        else:
            verdict = click.style("refused ", fg=BAD)
            lines.append(f"{verdict}  {name}  {plain(one['message'])}")
            hint = one["hint"]
            if one["reason"] == "AlreadyExists":
                hint = "it exists: --as apply asks what an update would do"
            if hint:
                lines.append(f"{'':10}{'':{width}}  {plain(hint)}")
    refused = sum(not one["accepted"] for one in rows)
    total = counted(len(rows), "Service")
    if not refused:
        end = f"{total}: all accepted"
    elif document["transaction"]:
        end = f"{total}: {refused} refused, so none is taken"
    else:
        end = f"{total}: {len(rows) - refused} accepted, {refused} refused"
    return "\n".join([*lines, end])


def _short(one: Document) -> str:
    key = one["service"]
    return f"{key['namespace']}/{key['name'] or '(no name)'}"


def _outcomes(one: Document) -> Iterator[str]:
    ports = [*one["ports"], *([one["health_check"]] if one["health_check"] else [])]
    for port in ports:
        if port["port"]:
            name = f"{port['name']} {port['port']}/{port['protocol']}".strip()
        else:
            name = port["name"]
        yield f"{plain(name)} -> {_number(port)}"


def _number(port: Document) -> str:
    number, drawn = port["node_port"], port["drawn_from"]
    match port["origin"]:
        case "none":
            return "no nodePort"
        case "kept" if number:
            return f"{number}, as it is"
        case "drawn" | "shared" | "kept" if drawn and not number:
            return f"one of {drawn['free']:,} ({drawn['band']} band)"
        case "drawn":
            return f"{number}, the last one of its band"
        case _:
            return str(number)


def _risks(one: Document) -> Iterator[str]:
    ports = [*one["ports"], *([one["health_check"]] if one["health_check"] else [])]
    for port in ports:
        if port["chance_taken"]:
            odds = round(1 / port["chance_taken"])
            yield (
                f"a draw before it may have {port['node_port']} first, about 1 in {odds:,}: "
                "send it earlier, or choose from the static band"
            )
