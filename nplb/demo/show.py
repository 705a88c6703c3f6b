"""What the demo shows: the text for a newcomer, the trickle of traffic, the line at the end."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from nplb.aio.tasks import TaskOwner
from nplb.demo.scenario import Scenario
from nplb.demo.stage import HTTP_SERVICES, Stage
from nplb.demo.traffic import TRICKLE_SECONDS, Tally
from nplb.lab.introduction import program, shown_path
from nplb.model.errors import HostError, NplbError
from nplb.model.keys import Address

REPORT_SECONDS = 10.0
KUBE_PROXY_PORT = 10256
# The address in a lab's network whose port says that somebody has it.
MARK = 250
DEFAULT_ADMIN = Address("127.0.0.1", 9090)


@contextmanager
def hold_free_network() -> Iterator[str]:
    """The first network of nodes, from the usual one on, that no lab has. Nobody else who asks is
    given it until the block ends."""
    for third in range(1, 255):
        network = f"127.0.{third}"
        with ExitStack() as held:
            try:
                mark = held.enter_context(socket.socket())
                mark.bind((f"{network}.{MARK}", KUBE_PROXY_PORT))
                with socket.socket() as node:  # of a lab that was told its network
                    node.bind((f"{network}.1", KUBE_PROXY_PORT))
            except OSError:
                continue
            yield f"{network}.0/24"
            return
    raise HostError("every network from 127.0.1.0/24 on has a lab: end one, or name another")


def hold_free_port() -> socket.socket:
    """A port of loopback that nobody has. The socket holds it for a process that binds it with
    SO_REUSEADDR; the caller closes it in the end."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


async def check_demo(stage: Stage) -> int:
    """The scripted scenario. Returns the exit code."""
    trouble = ""
    scenario = Scenario(stage, print)
    code: int | None = None
    try:
        async with stage:
            try:
                await scenario.run()
            except NplbError as error:
                trouble = str(error)
            code = await stage.close()
    except NplbError as error:
        trouble = trouble or str(error)
    if code != 0 and not trouble:
        trouble = f"nplb run ended with exit code {code} after SIGTERM"
    tally = stage.traffic.tally
    for reason, count in tally.reasons.most_common():
        print(f"  failed {count} times: {reason}")
    for failure in tally.failures:
        when = f"{scenario.seconds(failure.at):5.1f} s  in the step “{failure.phase}”"
        age = f"{failure.after_seconds:.3f} s after its connect began"
        print(f"{when}: {failure.reason}, {age}")
    if trouble:
        print(f"  step {scenario.steps + 1} failed: {trouble}")
        print(f"  nplb's log is {stage.balancer.log_path}")
    print(closing_line(tally))
    return 1 if tally.failed or trouble else 0


def progress(tally: Tally) -> str:
    """A line now and then, while it runs."""
    apart = f", {tally.apart} ended with a node that was taken away" if tally.apart else ""
    return f"{tally.requests} requests, {tally.failed} failed{apart}"


def closing_line(tally: Tally) -> str:
    """The demo's last line. A connection that was open when a node went silent, and whose answer
    came when that was over, is told of apart."""
    slowest, fresh = tally.slowest_seconds, tally.slowest_fresh_seconds
    apart = f" ({slowest:.2f} s through the node that went silent)" if slowest > fresh else ""
    return (
        f"demo: {tally.requests} requests, {tally.failed} failed, "
        f"{tally.apart} ended with the node that went silent, "
        f"{tally.connections} connections, slowest answer {fresh:.2f} s{apart}"
    )


async def show_demo(stage: Stage) -> int:
    """Lab, balancer and traffic until SIGINT or SIGTERM. Returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print("starting a sandbox cluster and nplb in front of it …", flush=True)
    stage.traffic.pause_seconds = TRICKLE_SECONDS
    async with stage, TaskOwner("demo") as tasks:
        for service in HTTP_SERVICES:
            stage.traffic.start(service, stage.edge_address(service), kept=1, fresh=1)
        tasks.spawn(stage.follow_faults(), "follow-faults")
        print(introduction(stage), flush=True)
        failed = 0
        while not stop.is_set() and stage.balancer.running:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await stop.wait()
            tally = stage.traffic.tally
            print(progress(tally), flush=True)
            if tally.failed != failed:
                failed = tally.failed
                for reason, count in tally.reasons.most_common(3):
                    print(f"  {count} times: {reason}", flush=True)
        if not stage.balancer.running:
            raise NplbError(f"nplb run has ended; its log is {stage.balancer.log_path}")
        await stage.traffic.stop()
    print(closing_line(stage.traffic.tally))
    return 0


def introduction(stage: Stage) -> str:
    """What runs where, and what to try next."""
    lab = stage.lab
    nodes = ", ".join(f"{name} {machine.address}" for name, machine in lab.nodes.items())
    services = "\n".join(
        f"    {service:16} {stage.edge_address(service)!s:18} -> NodePort "
        f"{lab.node_port(service)} of every node"
        for service in HTTP_SERVICES
    )
    kubeconfig = lab.kubeconfig_path
    nplb = program()
    admin = stage.balancer.admin
    where = "" if admin == DEFAULT_ADMIN else f" --admin http://{admin}"
    return f"""
  the cluster   {lab.api.url} (kubeconfig {kubeconfig})
  its nodes     {nodes}
  nplb          http://{admin} is its dashboard (log {shown_path(stage.balancer.log_path)})
  clients       a few on each of
{services}

  In another terminal:
    export KUBECONFIG={kubeconfig}
    kubectl get services,nodes -o wide
    {nplb} status{where}
    curl $({nplb} url web{where})
    {nplb} ports{where}
    {nplb} lab fault node-2 silent      # in three seconds it is out: look at the status
    {nplb} lab clear node-2
    {nplb} drain node-1 --token-file {shown_path(stage.token_path)}{where}
    kubectl create service nodeport hello --tcp=80:8080

  Ctrl-C ends everything.
"""
