"""`nplb demo`: a sandbox cluster with nplb in front of it, and traffic."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import click

from nplb.model.keys import Address

DIRECTORY = Path(".nplb/demo")
CHECK_DIRECTORY = Path(".nplb/demo-check")


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Run the scripted scenario (faults under traffic), then end with 0 or 1.",
)
@click.option("--nodes", default=3, show_default=True, metavar="N", help="How many nodes.")
@click.option(
    "--admin-port",
    default=9090,
    show_default=True,
    metavar="PORT",
    help="nplb's admin port on loopback; 0 takes a free one, as --check does.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the kubeconfig, nplb's configuration and its log go.  "
    f"[default: {DIRECTORY}, or {CHECK_DIRECTORY}]",
)
@click.option(
    "--network",
    metavar="CIDR",
    help="Where the lab's nodes are, within 127.0.0.0/8.  [default: 127.0.1.0/24; with --check, "
    "the first from there that is free]",
)
def command(
    check: bool, nodes: int, admin_port: int, directory: Path | None, network: str | None
) -> None:
    """Run a lab with nplb in front of it and a trickle of traffic, until Ctrl-C.

    With --check the same is scripted: nodes refuse, go silent, are drained and deleted, a
    service comes and goes, the API server is away, the configuration is reloaded. The last
    line says how many requests there were and how many failed; the exit code is 0 if none
    did, but for connections that were open through the node that went silent.
    """
    from nplb.demo.show import check_demo, hold_free_network, hold_free_port, show_demo
    from nplb.demo.stage import DEFAULT_EDGE, DEFAULT_NETWORK, Stage

    if check and nodes < 3:
        raise click.BadParameter("--check needs 3 nodes or more", param_hint="--nodes")
    directory = directory or (CHECK_DIRECTORY if check else DIRECTORY)
    with ExitStack() as held:
        # Checks run side by side, with each other and with a demo: each has addresses of its own.
        if network is None:
            network = held.enter_context(hold_free_network()) if check else DEFAULT_NETWORK
        if check or not admin_port:
            admin_port = held.enter_context(hold_free_port()).getsockname()[1]
        stage = Stage(
            directory=directory.absolute(),
            nodes=nodes,
            network=network,
            edge=f"{network.rpartition('.')[0]}.200" if check else DEFAULT_EDGE,
            admin=Address("127.0.0.1", admin_port),
        )
        code = asyncio.run(check_demo(stage) if check else show_demo(stage))
    raise SystemExit(code)
