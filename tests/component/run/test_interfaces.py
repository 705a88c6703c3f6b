"""Frontends on an interface: they listen on its addresses, as these come and go."""

import contextlib
import json
import socket
from pathlib import Path

import pytest

from nplb.dataplane.relay.listeners import ListenFailedError, open_listeners
from nplb.model.keys import Address
from nplb.observe.interfaces import interface_addresses
from tests.support.edge import Edge
from tests.support.labmanifests import documents, node, service
from tests.support.netns import namespaces, requires_namespaces
from tests.support.relay import free_port_everywhere


def test_loopback_has_its_addresses() -> None:
    known = interface_addresses()
    assert known["lo"][0] == "127.0.0.1"
    for ips in known.values():
        assert not [ip for ip in ips if ip.startswith("fe80")]


@requires_namespaces[0]
@requires_namespaces[1]
def test_addresses_that_come_and_go_are_seen() -> None:
    with namespaces("edge") as made:
        edge = made["edge"]
        edge.run("ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
        with edge.entered():
            assert "one" not in interface_addresses()
            edge.run("ip", "addr", "add", "192.0.2.9/24", "dev", "one")
            edge.run("ip", "addr", "add", "192.0.2.1/24", "dev", "one")
            edge.run("ip", "addr", "add", "2001:db8::9/64", "dev", "one", "nodad")
            edge.run("ip", "link", "set", "two", "up")
            edge.run("ip", "link", "set", "one", "up")
            assert interface_addresses()["one"] == ("192.0.2.1", "192.0.2.9", "2001:db8::9")
            edge.run("ip", "addr", "del", "192.0.2.1/24", "dev", "one")
            assert interface_addresses()["one"][0] == "192.0.2.9"


def test_an_interface_without_an_address_is_an_error_with_its_name() -> None:
    with pytest.raises(ListenFailedError, match="no interface none0 with an address"):
        open_listeners(Address("%none0", 443), 1, dual_stack=False, ours=set())


async def test_a_frontend_says_where_it_listens_and_where_it_can_not(
    edge: Edge, tmp_path: Path
) -> None:
    port = free_port_everywhere()
    (tmp_path / "cluster.yaml").write_text(
        documents(service("web", node_port=30080), node("n", "127.0.0.99"))
    )
    edge.configure(
        "[{name: a, manifests: [cluster.yaml]}]",
        frontends=json.dumps([{"service": "default/web", "listen": [f"%lo:{port}", "%none0:1"]}]),
        health="{enabled: false}",
    )
    await edge.start()
    await edge.until(
        lambda status: status["applied"] and status["applied"]["listen_errors"], "the error"
    )
    status = await edge.status()
    (frontend,) = status["plan"]["frontends"]
    ips = [address["ip"] for address in frontend["listen"]]
    assert "127.0.0.1" in ips
    assert "%none0" in ips
    assert frontend["state"] == "serving"
    (errors,) = status["applied"]["listen_errors"].values()
    assert "no interface none0" in errors[0]["detail"]
    # Nothing serves behind it, so the client is taken and reset; it is not refused.
    with (
        contextlib.suppress(ConnectionResetError),
        socket.create_connection(("127.0.0.1", port), timeout=10),
    ):
        pass
