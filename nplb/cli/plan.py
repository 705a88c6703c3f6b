"""`nplb plan`: the plan that this configuration and this cluster give, without applying it."""

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nplb.cli.options import config_or_file, output_option, set_option

if TYPE_CHECKING:
    from nplb.model.cluster import Snapshot
    from nplb.model.plan import Plan
    from nplb.model.settings import Settings


@click.command(short_help="Print what would be served, without serving it.")
@config_or_file
@click.option("-v", "--verbose", is_flag=True, help="Show every node, not only those left out.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each cluster may take to be read.",
)
@set_option
@output_option()
def command(
    verbose: bool, timeout_seconds: float, config: Path, overrides: dict[str, str], output: str
) -> None:
    """Print the plan that this configuration (FILE or that of --config) and this cluster give,
    without applying it: each frontend and where it would listen, each node that would be left out
    and why, each port that would not be served, each entry of the file that nothing answers to.

    Nothing listens and no node is probed: every node that the API lets in counts as working,
    and shows as `unprobed`.
    """
    from nplb.config import load_settings
    from nplb.control.interfaces import Interfaces

    settings = Interfaces().resolved(load_settings(config, overrides=overrides))
    snapshots = asyncio.run(_snapshots(settings, timeout_seconds))
    document = _document(settings, snapshots, time.time())
    if output == "text":
        click.echo(render_text(document, verbose=verbose))
    else:
        from nplb.cli.output import print_document

        print_document(document, output)


async def read_plan(settings: "Settings", timeout_seconds: float) -> "Plan":
    """The plan that the settings and the clusters as they are now give, every node that the API
    lets in counted as working. Raises NplbError for a cluster that can't be read."""
    return _plan(settings, await _snapshots(settings, timeout_seconds), time.time())


def _plan(settings: "Settings", snapshots: "dict[str, Snapshot]", now: float) -> "Plan":
    from nplb.control.annotations import AnnotationBook
    from nplb.model.plan import Plan
    from nplb.model.settings import InitialState
    from nplb.plan.make import make_plan

    up = InitialState.UP
    trusting = replace(
        settings,
        health=replace(settings.health, initial=up),
        frontends=tuple(
            replace(one, health=replace(one.health, initial=up)) if one.health else one
            for one in settings.frontends
        ),
    )
    wishes = AnnotationBook().read(settings, snapshots)
    return make_plan(trusting, snapshots, {}, Plan(), now, wishes=wishes)


async def _snapshots(settings: "Settings", timeout_seconds: float) -> dict[str, "Snapshot"]:
    """Every cluster as it is now, keyed by name. Raises NplbError with a line for each cluster
    that can't be read."""
    from nplb.model.errors import (
        ClusterError,
        ConfigurationError,
        HostError,
        HostPermissionError,
        NplbError,
    )
    from nplb.sources.factory import list_once

    async def read(index: int) -> "Snapshot | NplbError":
        cluster = settings.clusters[index]
        try:
            async with asyncio.timeout(timeout_seconds):
                return await list_once(
                    cluster, now=time.time, rng=random.Random(), state_dir=settings.state_dir
                )
        except TimeoutError:
            return ClusterError(f"was not read within {timeout_seconds:g} s, see --timeout")
        except NplbError as error:
            return error

    found = await asyncio.gather(*(read(i) for i in range(len(settings.clusters))))
    snapshots = {}
    failures = []
    for cluster, one in zip(settings.clusters, found, strict=True):
        if isinstance(one, NplbError):
            failures.append((cluster.name, one))
        else:
            snapshots[cluster.name] = one
    if failures:
        text = "\n".join(f"cluster {name}: {error}" for name, error in failures)
        for family in (ConfigurationError, ClusterError, HostPermissionError, HostError):
            if all(isinstance(error, family) for _, error in failures):
                raise family(text)
        raise NplbError(text)
    return snapshots


def _document(settings: "Settings", snapshots: "dict[str, Snapshot]", now: float) -> dict[str, Any]:
    """The plan, and what of the configuration no Service answers to."""
    from nplb.control.books import named_in_vain
    from nplb.web.render import render

    findings = tuple(named_in_vain(settings, snapshots, now))
    plan = _plan(settings, snapshots, now)
    return {"now": now, "plan": render(plan), "findings": render(findings)}


def render_text(document: dict[str, Any], *, verbose: bool) -> str:
    """A plan as text."""
    from nplb.cli import views
    from nplb.cli.table import counted

    plan = document["plan"]
    nodes = {b["key"]["node"] for frontend in plan["frontends"] for b in frontend["backends"]}
    head = (
        f"plan: {counted(len(plan['frontends']), 'frontend')} through "
        f"{counted(len(nodes), 'node')}, {counted(len(plan['skipped']), 'port')} not served"
    )
    paragraphs = [
        head,
        views.frontends_table(document, verbose=verbose),
        views.detection_line(document),
        views.skipped_table(document),
        views.refusals_table(document),
        views.findings_table(document),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
