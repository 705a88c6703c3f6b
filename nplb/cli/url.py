"""`nplb url`: the URL that a client reaches a service at, through the edge."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from nplb.cli.options import admin_option, optional_config_option, output_option
from nplb.cli.services import find_service, pool_of, service_argument, split_port
from nplb.model.errors import NplbError

_TLS_PORTS = frozenset({443, 6443, 8443})
_HTTP_PORTS = frozenset({80, 3000, 5000, 8000, 8080, 8081, 8888})


@click.command(short_help="Print the URL a client reaches a service at.")
@service_argument(required=True)
@click.option("--port", metavar="NAME|NUMBER", help="One port of the service alone.")
@click.option(
    "--all", "every", is_flag=True, help="Every address, not only the first of each port."
)
@admin_option
@optional_config_option
@output_option()
def command(
    service: str,
    port: str | None,
    every: bool,
    admin: str | None,
    config: Path | None,
    output: str,
) -> None:
    """Print the URL that a client reaches SERVICE at, a line for each of its ports.

    SERVICE is name, namespace/name or cluster/namespace/name. A wildcard address is shown as one
    that answers: 127.0.0.1 if nplb runs on this host, or else the host of --admin. The scheme is
    guessed from the port's name and number, and tcp if neither says HTTP.
    """
    from nplb.cli.client import find_admin, get_status

    wanted, suffix = split_port(service)
    if suffix is not None and port is not None:
        raise click.UsageError("the port is named twice: by SERVICE and by --port")
    admin_url = find_admin(admin, config)
    document = get_status(admin_url)
    name = find_service(document, wanted)
    frontends = _frontends(document, name, port if suffix is None else suffix)
    rows = [row for entry in frontends for row in _rows(document, entry, admin_url, every=every)]
    if output != "text":
        from nplb.cli.output import print_document

        print_document(rows, output)
        return
    for row in rows:
        click.echo(row["url"])
    for entry in frontends:
        if entry["state"] == "no_backend":
            click.echo(f"nplb: {entry['key']['text']} has no node to send clients to", err=True)


def _frontends(document: dict[str, Any], name: str, port: str | None) -> list[dict[str, Any]]:
    """The Service's frontends that listen, of one port if it is given. Raises NplbError."""
    plan = document["plan"]
    entries = [f for f in plan["frontends"] if f["key"]["service"]["text"] == name]
    skipped = [s for s in plan["skipped"] if s["key"]["service"]["text"] == name]
    if not entries and not skipped and (pool := pool_of(document, name)) is not None:
        entries = [f for f in plan["frontends"] if f["key"]["service"]["text"] == pool]
        port = None  # the member's own
    if port is not None:
        matching = [f for f in entries if port in _port_words(f)]
        if not matching:
            reasons = [s for s in skipped if str(s["key"]["port"]) == port]
            _refuse_skipped(reasons)
            known = ", ".join(sorted({_port_words(f)[0] for f in entries})) or "none"
            raise NplbError(f"{name} has no port {port} that is served; served: {known}")
        entries = matching
    if not entries:
        _refuse_skipped(skipped)
    listening = [f for f in entries if f["state"] in ("serving", "no_backend")]
    if not listening:
        raise NplbError("; ".join(_why_silent(document, f) for f in entries))
    return listening


def _port_words(entry: dict[str, Any]) -> list[str]:
    """What a port may be called: its name, its number, its NodePort, its numbers here."""
    numbers = [entry["key"]["port"], entry["node_port"], *(a["port"] for a in entry["listen"])]
    words = [entry["port_name"]] if entry["port_name"] else []
    return words + [str(number) for number in numbers]


def _refuse_skipped(skipped: list[dict[str, Any]]) -> None:
    if skipped:
        lines = [f"{s['key']['text']} is not served: {s['detail'] or s['reason']}" for s in skipped]
        raise NplbError("; ".join(lines))


def _why_silent(document: dict[str, Any], entry: dict[str, Any]) -> str:
    key = entry["key"]["text"]
    applied = document.get("applied") or {}
    errors = applied.get("listen_errors", {}).get(key, ())
    detail = "; ".join(error["detail"] for error in errors) or "it is planned, not applied yet"
    return f"{key} does not listen ({entry['state']}): {detail}"


def _rows(
    document: dict[str, Any], entry: dict[str, Any], admin_url: str, *, every: bool
) -> list[dict[str, Any]]:
    applied = document.get("applied") or {}
    failed = {
        error["address"]["text"]
        for error in applied.get("listen_errors", {}).get(entry["key"]["text"], ())
    }
    listening = [a for a in entry["listen"] if a["text"] not in failed] or entry["listen"]
    key = entry["key"]
    return [
        {
            "service": key["service"]["text"],
            "port": key["port"],
            "port_name": entry["port_name"],
            "node_port": entry["node_port"],
            "state": entry["state"],
            "listen": address["text"],
            "url": f"{_scheme(entry)}://{_host(address['ip'], admin_url)}:{address['port']}",
        }
        for address in (listening if every else listening[:1])
    ]


def _scheme(entry: dict[str, Any]) -> str:
    name, number = entry["port_name"].lower(), entry["key"]["port"]
    if name.startswith("https") or (not name and number in _TLS_PORTS):
        return "https"
    if name.startswith(("http", "web", "grpc-web")) or number in _HTTP_PORTS:
        return "http"
    return "https" if number in _TLS_PORTS else "tcp"


def _host(ip: str, admin_url: str) -> str:
    """An address that answers, for one that nplb listens on."""
    from nplb.cli.client import is_this_host

    if ip not in ("0.0.0.0", "::"):
        host = ip
    elif is_this_host(admin_url):
        host = "::1" if ip == "::" else "127.0.0.1"
    else:
        host = urlsplit(admin_url).hostname or ip
    return f"[{host}]" if ":" in host else host
