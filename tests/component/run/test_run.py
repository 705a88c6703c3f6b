"""`nplb run` in front of a lab: what an operator sees of a start, a reload, a fault, a stop."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from nplb.lab.cluster import Lab
from tests.support.edge import Edge, ask, children, clusters, hold_port, kill, of_lab
from tests.support.labmanifests import documents, node, service

WEB = service("web", node_port=30080)
LATE = service("late", node_port=30081)


def cluster_error(status: dict[str, object]) -> str:
    return str(status["sources"][0]["error"])  # type: ignore[index]


async def test_it_serves_what_the_cluster_has_and_what_comes_and_goes(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    assert "service web" in await ask(edge.ip, 30080)
    code, text = await edge.get("/readyz?verbose")
    assert code == 200
    assert "[+]cluster/lab ok" in text
    code, text = await edge.get("/metrics")
    assert code == 200
    assert "nplb_frontend" in text
    assert (await edge.get("/livez"))[0] == 200
    await lab.apply(LATE)
    await edge.serves("late")
    assert "service late" in await ask(edge.ip, 30081)
    lab.api.delete("services", "late", namespace="default")
    await edge.until(lambda s: len(s["plan"]["frontends"]) == 2, "the frontend to go")
    with pytest.raises(ConnectionRefusedError):
        await ask(edge.ip, 30081)


async def test_connections_live_through_reloads_and_the_end_of_the_api(
    edge: Edge, lab: Lab
) -> None:
    await edge.begin(of_lab(lab))
    reader, writer = await asyncio.open_connection(edge.ip, 30007)
    for count, balance in enumerate(("round_robin", "first", "least_connections"), 1):
        edge.configure(of_lab(lab), balance=balance)
        edge.signal(signal.SIGHUP)
        await edge.reloaded(count)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
    edge.config_path.write_text("clusters: []\nbalanse: best\n")
    edge.signal(signal.SIGHUP)
    await edge.until(lambda s: s["reload"]["refused"] == 1, "the refusal")
    errors = (await edge.status())["reload"]["errors"]
    assert any("nplb.yaml:2:1" in e and "balance" in e for e in errors), errors
    lab.faults.apply("api", "restart=1h")
    await edge.until(lambda s: s["sources"][0]["state"] == "stale", "the API to be missed")
    writer.write(b"and here")
    assert await reader.readexactly(8) == b"and here"
    assert "service web" in await ask(edge.ip, 30080)
    writer.close()


async def test_sigterm_lets_connections_end_and_takes_no_new_one(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab), shutdown="{delay: 3s, drain: 20s}")
    reader, writer = await asyncio.open_connection(edge.ip, 30007)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    edge.signal(signal.SIGTERM)
    await edge.until(lambda s: not s["is_ready"] or s["stopping"], "not ready")
    assert "service web" in await ask(edge.ip, 30080), "it serves during the delay"
    deadline = asyncio.get_running_loop().time() + 20
    while asyncio.get_running_loop().time() < deadline:
        try:
            await ask(edge.ip, 30080)
        except ConnectionRefusedError:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("its listeners stay open")
    writer.write(b"y")
    assert await reader.readexactly(1) == b"y"
    writer.close()
    assert await edge.ended() == 0


async def test_a_second_sigterm_ends_it_at_once(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab), shutdown="{drain: 1h}")
    reader, writer = await asyncio.open_connection(edge.ip, 30007)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    edge.signal(signal.SIGTERM)
    await edge.until(lambda s: s["stopping"], "it to stop")
    await asyncio.sleep(0.2)
    edge.signal(signal.SIGTERM)
    assert await edge.ended() == 0
    writer.close()


async def test_a_killed_worker_is_replaced(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    assert edge.process is not None
    before = children(edge.process.pid)
    assert len(before) == 2
    kill(before[0])
    await edge.until(
        lambda s: (
            sum(w["restarts"] for w in s["traffic"]["workers"]) == 1
            and all(w["alive"] for w in s["traffic"]["workers"])
        ),
        "the worker to be replaced",
    )
    for _ in range(20):
        assert "service web" in await ask(edge.ip, 30080)


async def test_a_start_that_fails_says_why_and_nothing_else(edge: Edge, lab: Lab) -> None:
    ip, _, port = edge.admin.partition(":")
    with hold_port(ip, int(port)):
        edge.configure(of_lab(lab))
        await edge.start()
        assert await edge.ended() == 1
    lines = edge.log().splitlines()
    assert edge.admin in lines[-1]
    log_line = re.compile(r"\d{4}-\d\d-\d\dT\S+Z (debug|info|warning|error) ")
    assert [one for one in lines[:-1] if not log_line.match(one)] == []


def not_ready(status: dict[str, Any]) -> list[str]:
    return [part["name"] for part in status["ready"] if not part["ok"]]


async def test_a_port_that_is_in_use_is_taken_over_when_it_comes_free(edge: Edge, lab: Lab) -> None:
    with hold_port(edge.ip, 30080):
        echo = hold_port(edge.ip, 30007)
        edge.configure(of_lab(lab))
        await edge.start()
        await edge.until(lambda s: not_ready(s) == ["frontends"], "all ports to be taken")
        code, text = await edge.get("/readyz")
        assert code == 503
        assert "2 of 2" in text
        echo.close()
        await edge.serves("echo")
        await edge.ready()

        def conflicts(status: dict[str, Any]) -> list[str]:
            return [f["text"] for f in status["findings"] if f["kind"] == "edge_port_in_use"]

        # Findings come last in a pass: for a moment the other port's stands still.
        await edge.until(lambda s: len(conflicts(s)) == 1, "one conflict")
        status = await edge.status()
        assert any(f["state"] == "conflict" for f in status["plan"]["frontends"])
        (text,) = conflicts(status)
        assert f"pid {os.getpid()}" in text
    await edge.serves("web")
    assert "service web" in await ask(edge.ip, 30080)


async def test_a_kubeconfig_that_is_no_good_says_which_and_why(edge: Edge, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    edge.configure(clusters(lab=path))
    await edge.start()
    for text, words in (
        ("", "does not exist"),
        ("{ not yaml", "not valid yaml"),
        ("apiVersion: v1\nkind: Config\n", "no current-context"),
    ):
        if text:
            path.write_text(text)

        def says(status: dict[str, object], words: str = words) -> bool:
            return words in cluster_error(status).lower()

        await edge.until(says, words)
        assert str(path) in cluster_error(await edge.status())
        code, page = await edge.get("/readyz?verbose")
        assert code == 503
        assert str(path) in page
    assert (await edge.get("/livez"))[0] == 200


async def test_a_wrong_context_names_those_that_exist(edge: Edge, lab: Lab) -> None:
    edge.configure(of_lab(lab, context="prod"))
    await edge.start()
    await edge.until(cluster_error, "the error")
    error = cluster_error(await edge.status())
    assert "prod" in error
    assert "lab" in error.replace("prod", "")


async def test_an_api_server_that_comes_later(edge: Edge, lab: Lab) -> None:
    lab.faults.apply("api", "restart=1h")
    edge.configure(of_lab(lab))
    await edge.start()
    await edge.until(cluster_error, "the error")
    assert (await edge.get("/readyz"))[0] == 503
    lab.faults.clear("api")
    await edge.ready()
    assert "service web" in await ask(edge.ip, 30080)


async def test_a_token_that_is_refused(edge: Edge, lab: Lab) -> None:
    text = lab.kubeconfig_path.read_text()
    edge.config_path.parent.joinpath("kubeconfig").write_text(
        text.replace(lab.api.token, "not-the-token")
    )
    path = edge.config_path.parent / "kubeconfig"
    edge.configure(clusters(lab=path))
    await edge.start()
    await edge.until(cluster_error, "the error")
    error = cluster_error(await edge.status())
    assert "401" in error
    assert "not-the-token" not in error + edge.log()


async def test_manifests_in_place_of_an_api(edge: Edge, lab: Lab, tmp_path: Path) -> None:
    nodes = [node(name, machine.address) for name, machine in lab.nodes.items()]
    manifest = tmp_path / "cluster.yaml"
    manifest.write_text(documents(WEB, *nodes))
    await edge.begin(json.dumps([{"name": "lab", "manifests": [str(manifest)]}]))
    assert "service web" in await ask(edge.ip, 30080)
    manifest.write_text("kind: [Service\n")
    await edge.until(cluster_error, "the error")
    assert f"{manifest}:" in cluster_error(await edge.status())
    assert "service web" in await ask(edge.ip, 30080)


def lowest_port_for_everybody() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


async def test_a_privileged_port_without_the_right(edge: Edge, lab: Lab) -> None:
    first = lowest_port_for_everybody()
    if first <= 80:
        pytest.skip(f"here every port from {first} on is for everybody")
    # Also root has no more than what the bounding set leaves.
    dropped = ("setpriv", "--bounding-set", "-net_bind_service") if os.geteuid() == 0 else ()
    edge.configure(of_lab(lab), frontends=f'[{{service: default/web, listen: "{edge.ip}:80"}}]')
    await edge.start(*dropped)
    await edge.serves("echo")
    await edge.until(
        lambda s: [f for f in s["plan"]["frontends"] if f["state"] == "failed"],
        "the listener to fail",
    )
    errors = (await edge.status())["applied"]["listen_errors"]
    (detail,) = [e["detail"] for es in errors.values() for e in es]
    assert "CAP_NET_BIND_SERVICE" in detail


async def test_an_api_that_does_everything_wrong_fails_no_client(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    api = lab.api.faults
    for begin in (api.down, api.bad_gateway, api.internal_error, api.too_many_requests):
        begin()
        api.cut_streams()
        await edge.until(lambda s: s["sources"][0]["state"] == "stale", "the fault to be noticed")
        for _ in range(5):
            assert "service web" in await ask(edge.ip, 30080)
        code, text = await edge.get("/metrics")
        assert code == 200
        assert 'nplb_source_state{cluster="lab",state="stale"} 1.0' in text
        api.clear()
        await edge.until(lambda s: s["sources"][0]["state"] == "live", "all to be well")
    ages = [
        float(line.rpartition(" ")[2])
        for line in (await edge.get("/metrics"))[1].splitlines()
        if line.startswith("nplb_source_snapshot_age_seconds{")
    ]
    assert ages == [0.0]


async def test_a_file_that_can_not_be_read_to_its_end_does_not_keep_it_from_ending(
    edge: Edge, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "of-a-file-system-that-hangs"
    os.mkfifo(kubeconfig)
    edge.configure(json.dumps([{"name": "hung", "kubernetes": {"kubeconfig": str(kubeconfig)}}]))
    await edge.start()
    await edge.until(lambda status: status["sources"], "the admin server")
    edge.signal(signal.SIGTERM)
    assert await edge.ended() == 0
    assert "a thread stands still" in edge.log()
