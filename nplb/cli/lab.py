"""`nplb lab`: run a sandbox cluster, and break it on command."""

import asyncio
from pathlib import Path
from typing import Any

import click

from nplb.cli.options import output_option
from nplb.cli.output import print_document
from nplb.cli.table import table

DEFAULT_KUBECONFIG = ".nplb/lab.kubeconfig"


@click.group(invoke_without_command=True)
@click.option(
    "--nodes",
    type=click.IntRange(min=0),
    default=3,
    show_default="3",
    metavar="N",
    help="How many nodes; 0 for the API server alone, without controllers.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="any",
    metavar="PORT",
    help="The API server's port on loopback.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="NPLB_LAB_KUBECONFIG",
    metavar="PATH",
    help=f"The lab's own kubeconfig.  [default: {DEFAULT_KUBECONFIG}]",
)
@click.option(
    "-f",
    "--file",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A manifest to apply, instead of the examples. May be repeated.",
)
@click.option("--empty", is_flag=True, help="Begin without the example Services.")
@click.option(
    "--netns",
    is_flag=True,
    help="Nodes and pods in network namespaces, and kube-proxy's rules in nftables. Needs root.",
)
@click.option(
    "--network",
    metavar="CIDR",
    help="Where the nodes are, within 127.0.0.0/8. Labs side by side need one each. With --netns "
    "it is not on loopback, and the next one of its size is the clients'.  "
    "[default: 127.0.1.0/24; 10.213.0.0/24 with --netns]",
)
@click.option(
    "--pod-network",
    metavar="CIDR",
    help="For pods, served at 127.*.  [default: 10.244.0.0/16, another with another --network]",
)
@click.option(
    "--service-network",
    metavar="CIDR",
    help="For ClusterIPs, served at 127.*.  [default: 10.96.0.0/16, as for pods]",
)
@click.option(
    "--node-port-range",
    default="30000-32767",
    show_default=True,
    metavar="RANGE",
    help="As kube-apiserver's --service-node-port-range.",
)
@click.pass_context
def command(
    ctx: click.Context,
    nodes: int,
    port: int,
    kubeconfig: Path | None,
    files: tuple[Path, ...],
    empty: bool,
    netns: bool,
    network: str | None,
    pod_network: str | None,
    service_network: str | None,
    node_port_range: str,
) -> None:
    """Run a sandbox cluster until Ctrl-C: an API server for kubectl, nodes with kube-proxy, pods.
    On loopback, without root; with --netns, as root, nodes and pods are network namespaces.

    The subcommands talk to a lab that runs: the one of --kubeconfig (before the subcommand), or
    else of $KUBECONFIG if a lab wrote that file, or else of the usual file.
    """
    ctx.obj = kubeconfig
    if ctx.invoked_subcommand is not None:
        return
    from nplb.lab.manifests import examples

    manifests = files or (() if empty or nodes == 0 else examples())
    options: dict[str, Any] = {
        "nodes": nodes,
        "port": port,
        "kubeconfig": kubeconfig or Path(DEFAULT_KUBECONFIG),
        "manifests": manifests,
        "netns": netns,
        "network": network,
        "pod_network": pod_network,
        "service_network": service_network,
        "node_port_range": node_port_range,
    }
    asyncio.run(_run(options))


async def _run(options: dict[str, Any]) -> None:
    import signal

    from nplb.lab.cluster import Lab
    from nplb.lab.introduction import introduction
    from nplb.lab.limits import raise_file_limit
    from nplb.model.settings import LogSettings
    from nplb.observe.logs import set_up_logging

    set_up_logging(LogSettings())
    raise_file_limit()
    _refuse_second(options["kubeconfig"])
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Lab(**options) as lab:
        click.echo(await introduction(lab))
        await stop.wait()


def _refuse_second(kubeconfig: Path) -> None:
    """A lab must not take another's kubeconfig away. Raises HostError if one answers."""
    from nplb.lab.client import LabClient
    from nplb.lab.kubeconfig import read_kubeconfig
    from nplb.model.errors import ClusterError, ConfigurationError, HostError

    try:
        access = read_kubeconfig(kubeconfig)
        LabClient(access, timeout=1.0).nodes()
    except (ConfigurationError, ClusterError):
        return
    raise HostError(
        f"a lab runs already at {access.url} ({kubeconfig}); stop it, or run another one with "
        "--kubeconfig and --network of its own"
    )


def _client(ctx: click.Context) -> Any:
    import os

    from nplb.lab.client import LabClient
    from nplb.lab.kubeconfig import find_kubeconfig, read_kubeconfig

    return LabClient(read_kubeconfig(find_kubeconfig(ctx.obj, os.environ)))


@command.command()
@click.argument("target")
@click.argument("fault", metavar="FAULT[=DURATION]")
@click.option("--for", "duration", metavar="DURATION", help="End it after that long, as in 10s.")
@click.pass_context
def fault(ctx: click.Context, target: str, fault: str, duration: str | None) -> None:
    """Break something: a node (node-2), a pod (pod/NAMESPACE/NAME) or the API server (api).

    `nplb lab faults` lists what can be broken and how.
    """
    from nplb.config.values import read_duration

    seconds = None
    if duration is not None:
        try:
            seconds = read_duration(duration)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--for") from None
    click.echo(f"{_client(ctx).fault(target, fault, seconds)['fault']['text']}: on")


@command.command()
@click.argument("target", required=False)
@click.argument("fault", required=False)
@click.pass_context
def clear(ctx: click.Context, target: str | None, fault: str | None) -> None:
    """Mend everything, everything of a target, or one fault of it."""
    cleared = _client(ctx).clear(target, fault)["cleared"]
    for one in cleared:
        click.echo(f"{one['text']}: off")
    if not cleared:
        click.echo("nothing was broken")


@command.command()
@output_option()
@click.pass_context
def faults(ctx: click.Context, output: str) -> None:
    """Show what is broken now, and what can be."""
    answer = _client(ctx).faults()
    if output != "text":
        print_document(answer, output)
        return
    for one in answer["faults"]:
        click.echo(f"on: {one['text']}")
    if not answer["faults"]:
        click.echo("nothing is broken")
    for target, kinds in answer["catalogue"].items():
        click.echo(f"\n{_TARGETS[target]}:")
        click.echo(table((), list(kinds.items()), indent="  "))


@command.command()
@output_option()
@click.pass_context
def nodes(ctx: click.Context, output: str) -> None:
    """Show the machines: what they are, not what the cluster thinks of them."""
    answer = _client(ctx).nodes()
    if output != "text":
        print_document(answer, output)
        return
    rows = [
        (
            node["name"],
            node["address"],
            _state(node),
            str(len(node["pods"])),
            str(node["connections"]),
        )
        for node in answer["nodes"]
    ]
    click.echo(table(("NODE", "ADDRESS", "STATE", "PODS", "CONNECTIONS"), rows))
    for problem in answer["problems"]:
        click.echo(f"problem: {problem}")


def _state(node: dict[str, Any]) -> str:
    if not node["powered"]:
        return "off"
    return ", ".join((node["reach"], *node["impaired"]))


@command.command(name="add-node")
@click.argument("name", default="")
@click.pass_context
def add_node(ctx: click.Context, name: str) -> None:
    """Add a node to the running lab."""
    node = _client(ctx).add_node(name)["node"]
    click.echo(f"{node['name']} at {node['address']}")


_TARGETS = {
    "node": "of a node, as in `nplb lab fault node-2 silent`",
    "pod": "of a pod, as in `nplb lab fault pod/default/web-abc crash`",
    "api": "of the API server, as in `nplb lab fault api hang --for 10s`",
}
