"""`nplb ports`: the NodePort range of clusters; what is used, free, wrong, and what the API server
would answer."""

import glob
import sys
import time
from pathlib import Path
from typing import Any

import click

from nplb.cli.options import output_option
from nplb.cli.portsource import Asked, asked_of, read_one, read_page, source_options
from nplb.model.errors import NplbError


@click.group(
    invoke_without_command=True,
    short_help="Show the NodePort range, and check Services against it.",
)
@click.option("-a", "--all", "every", is_flag=True, help="Show every number, not only the first.")
@source_options
@output_option()
@click.pass_context
def command(ctx: click.Context, /, every: bool, output: str, **options: Any) -> None:
    """Show the NodePort range of each cluster: a map, how full each band is and how fast it
    fills, who holds which number, and what is wrong.

    The running nplb is asked, which has watched; --kubeconfig reads a cluster itself, and
    --manifests takes files for one.
    """
    asked = asked_of(ctx, options)
    if ctx.invoked_subcommand is not None:
        ctx.obj = asked
        return
    page = read_page(asked)
    if output != "text":
        from nplb.cli.output import print_document

        print_document(page, output)
        return
    from nplb.cli.portmap import glyphs_for
    from nplb.cli.portviews import edge_text, ledger_text
    from nplb.cli.table import plain

    glyphs = glyphs_for(getattr(sys.stdout, "encoding", None))
    every = every or sys.stdout is None or not sys.stdout.isatty()
    parts = [ledger_text(page, one, glyphs, every=every) for one in page["ledgers"]]
    parts.append(edge_text(page))
    parts += [f"note: {plain(note)}" for note in page.get("notes", ())]
    click.echo("\n\n".join(part for part in parts if part))


def _port_number(_: click.Context, __: click.Parameter, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 65535):
        raise click.BadParameter(f"{text!r} is no port: write a number from 0 to 65535")
    return int(text)


@command.command("show", short_help="Say who has one number.")
@click.argument("number", callback=_port_number)
@source_options
@output_option()
@click.pass_context
def show(ctx: click.Context, /, number: int, output: str, **options: Any) -> None:
    """Say who has NUMBER in each cluster, on the edge and on this host, or that it is free."""
    asked = asked_of(ctx, options)
    page = read_page(asked)
    document = _shown(page, number, here=_is_here(asked))
    if output == "text":
        from nplb.cli.portviews import number_text

        click.echo(number_text(document))
    else:
        from nplb.cli.output import print_document

        print_document(document, output)


@command.command("suggest", short_help="Name numbers that are free to choose.")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="How many numbers.",
)
@click.option(
    "--band",
    type=click.Choice(["static", "dynamic"]),
    default="static",
    show_default=True,
    help="Where from. Automatic allocation draws from the dynamic band, and may be first there.",
)
@source_options
@output_option()
@click.pass_context
def suggest(ctx: click.Context, /, count: int, band: str, output: str, **options: Any) -> None:
    """Name numbers that are free to choose: in no cluster held by a Service, and on the edge by
    nobody.

    Prints a number a line. Fails if there are fewer than are wanted.
    """
    page = read_page(asked_of(ctx, options))
    numbers = _suggested(page, count, band)
    if output == "text":
        for number in numbers:
            click.echo(number)
    else:
        from nplb.cli.output import print_document

        print_document({"band": band, "numbers": list(numbers)}, output)
    if len(numbers) < count:
        other = "dynamic" if band == "static" else "static"
        raise NplbError(
            f"the {band} band has {len(numbers)} free of the {count} wanted; --band {other} may "
            "have more"
        )


@command.command("check", short_help="Ask what the API server would answer to Services.")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A manifest, a directory, a pattern, or - for standard input. Repeatable.",
)
@click.option(
    "--transaction",
    is_flag=True,
    help="All or none: one refusal gives up all. Otherwise one by one, as kubectl does.",
)
@click.option(
    "--as",
    "sent_as",
    type=click.Choice(["create", "apply"]),
    default="create",
    show_default=True,
    help="As which request: what exists is refused, or updated.",
)
@click.option("-n", "--namespace", metavar="NAME", help="For Services that name none.")
@click.option("--service-cidr", metavar="CIDR", help="The cluster's, if it is not told or guessed.")
@source_options
@output_option()
@click.pass_context
def check(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    transaction: bool,
    sent_as: str,
    namespace: str | None,
    service_cidr: str | None,
    output: str,
    **options: Any,
) -> None:
    """Ask what the API server would answer to each Service of these files, in order, without
    sending any: accepted, with the number it would get or the set it would be drawn from; or
    refused, in the API server's own words.

    The cluster is read now: of --kubeconfig and --context, or of the configuration, or, offline,
    of --manifests. Exits with 1 if any is refused.
    """
    document = _checked(
        asked_of(ctx, options),
        files,
        transaction=transaction,
        apply=sent_as == "apply",
        namespace=namespace,
        service_cidr=service_cidr,
    )
    if output == "text":
        from nplb.cli.portviews import predictions_text
        from nplb.cli.table import plain

        for note in document["notes"]:
            click.echo(f"note: {plain(note)}", err=True)
        click.echo(predictions_text(document))
    else:
        from nplb.cli.output import print_document

        print_document(document, output)
    if not document["accepted"]:
        raise SystemExit(1)


def _is_here(asked: Asked) -> bool:
    """Whether what was asked is an nplb of this host."""
    from nplb.cli.client import find_admin, is_this_host

    return not asked.directly and is_this_host(find_admin(asked.admin, asked.config, quiet=True))


def _shown(page: dict[str, Any], number: int, *, here: bool) -> dict[str, Any]:
    """One number as a document. `here`: the edge is this host."""
    from nplb.alloc.edge import overlap
    from nplb.alloc.host import who_text
    from nplb.alloc.ledger import band_of
    from nplb.alloc.portrange import PortRange
    from nplb.observe.hostports import host_listeners

    clusters = []
    for ledger in page["ledgers"]:
        entry = next((one for one in ledger["entries"] if one["number"] == number), None)
        clusters.append(
            {
                "cluster": ledger["cluster"],
                "port_range": ledger["port_range"],
                "band": band_of(PortRange(ledger["base"], ledger["size"]), number).value,
                "entry": entry,
                "findings": [f for f in ledger["findings"] if f["subject"] == str(number)],
            }
        )
    edge = page.get("edge") or {}
    listening = [one for one in edge.get("ports", ()) if one["port"] == number]
    # A stranger on an address of the edge is a finding: without one the listener is nplb's.
    in_use = any(
        f["kind"] == "edge_port_in_use" and f["subject"].endswith(f":{number}")
        for f in edge.get("findings", ())
    )
    host = []
    for one in host_listeners({number}):
        ours = here and not in_use and any(overlap(p["address"], one.address) for p in listening)
        host.append(f"{who_text(one)} listens" + (": it is this nplb" if ours else ""))
    return {
        "number": number,
        "now": page.get("now") or time.time(),
        "clusters": clusters,
        "edge": listening,
        "host": host,
    }


def _suggested(page: dict[str, Any], count: int, band: str) -> tuple[int, ...]:
    from nplb.alloc.portrange import PortRange
    from nplb.alloc.predict import suggest as suggest_numbers
    from nplb.model.ledger import Band

    taken = {entry["number"] for ledger in page["ledgers"] for entry in ledger["entries"]}
    taken.update(port["port"] for port in (page.get("edge") or {}).get("ports", ()))
    first = page["ledgers"][0]
    span = PortRange(first["base"], first["size"])
    return suggest_numbers(span, taken, count, Band(band))


def _checked(
    asked: Asked,
    files: tuple[str, ...],
    *,
    transaction: bool,
    apply: bool,
    namespace: str | None,
    service_cidr: str | None,
) -> dict[str, Any]:
    """The answers as a document."""
    from nplb.lab.portcheck import check_services
    from nplb.lab.portfiles import STDIN, read_raw_services
    from nplb.web.portcheck import answers_page

    for file in files:
        if file != STDIN and not glob.has_magic(file) and not Path(file).expanduser().exists():
            raise click.BadParameter(f"there is no {file}", param_hint="-f")
    read = read_raw_services(files)
    if not read.services:
        raise NplbError(f"{', '.join(files)}: no Service in {'it' if len(files) == 1 else 'them'}")
    answers = check_services(
        read.services,
        read_one(asked),
        apply=apply,
        transaction=transaction,
        namespace=namespace or "default",
        service_cidr=service_cidr,
    )
    document: dict[str, Any] = answers_page(answers)
    if read.others:
        kinds = ", ".join(f"{number} {kind}" for kind, number in read.others.items())
        document["notes"].append(f"passed over, for they are no Services: {kinds}")
    return document
