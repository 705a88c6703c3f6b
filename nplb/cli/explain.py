"""`nplb explain`: why each node of a service is in or out, and what would change it."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from nplb.cli.options import admin_option, optional_config_option, output_option
from nplb.cli.services import find_service, pool_of, service_argument, split_port
from nplb.model.errors import NplbError


@click.command(short_help="Say why each node is in or out.")
@service_argument(required=True)
@click.argument("node", required=False)
@admin_option
@optional_config_option
@output_option()
def command(
    service: str, node: str | None, admin: str | None, config: Path | None, output: str
) -> None:
    """Say of each node of SERVICE, or of NODE alone, whether it gets new connections: the
    reason, the signal that says so and how old it is, what would change it, and what was
    decided last. SERVICE is name, namespace/name or cluster/namespace/name, with :PORT for one
    port (its number or name).
    """
    from nplb.cli.client import find_admin, get_json, get_status

    url = find_admin(admin, config)
    status = get_status(url)
    keys = _frontends(status, service)
    name = find_service(status, split_port(service)[0])
    told = get_json(url, f"/api/v1/explain/{quote(name)}")
    pages = [page for page in told["frontends"] if page["key"]["text"] in keys]
    if node is not None:
        _keep_only(pages, node)
    if output == "text":
        from nplb.cli.explainviews import page_text

        texts = (page_text(page, one_node=node is not None) for page in pages)
        click.echo("\n\n".join(texts))
    else:
        from nplb.cli.output import print_document

        print_document({"frontends": pages}, output)


def _frontends(status: dict[str, Any], wanted: str) -> list[str]:
    """The keys of the service's frontends. Raises NplbError if there are none, with the why."""
    name, port = split_port(wanted)
    service = find_service(status, name)
    plan = status["plan"]
    found = [f for f in plan["frontends"] if f["key"]["service"]["text"] == service]
    skipped = [s for s in plan["skipped"] if s["key"]["service"]["text"] == service]
    if port is not None:
        names = [f"{f['key']['port']}" for f in found] + [f["port_name"] for f in found]
        found = [f for f in found if port in (str(f["key"]["port"]), f["port_name"])]
        skipped = [s for s in skipped if port == str(s["key"]["port"])]
        if not found and not skipped:
            known = ", ".join(dict.fromkeys(name for name in names if name)) or "none"
            raise NplbError(f"{service} has no port {port}: there are {known}")
    if not found and not skipped and (pool := pool_of(status, service)) is not None:
        raise NplbError(f"{service} is served as a part of {pool}: nplb explain {pool}")
    if not found:
        from nplb.model.reasons import SkipReason
        from nplb.policy.explain import SKIP_REASONS

        why = "; ".join(
            f"{s['key']['text']}: {SKIP_REASONS[SkipReason(s['reason'])]} {s['detail']}".strip()
            for s in skipped
        )
        raise NplbError(f"{service} is not served: {why}")
    return [frontend["key"]["text"] for frontend in found]


def _keep_only(pages: list[dict[str, Any]], node: str) -> None:
    from nplb.config.words import did_you_mean

    known: set[str] = set()
    for page in pages:
        known |= {b["key"]["node"] for b in page["backends"]}
        known |= {one["node"] for one in page["left_out"]}
        page["backends"] = [b for b in page["backends"] if b["key"]["node"] == node]
        page["left_out"] = [one for one in page["left_out"] if one["node"] == node]
        page["decisions"] = [d for d in page["decisions"] if d["node"] == node]
    if node not in known:
        guess = did_you_mean(node, sorted(known))
        hint = f"did you mean {guess}?" if guess else f"there are {', '.join(sorted(known)[:10])}"
        raise NplbError(f"no node {node} may serve it: {hint}")
