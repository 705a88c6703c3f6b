"""Frozen dataclasses as JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.reasons import BackendReason, Cause
from nplb.model.verdict import Probing
from nplb.web.render import render, render_status, to_bytes
from tests.support.status import NOW, frontend, large, status, troubled


def test_keys_are_objects_with_their_text() -> None:
    key = FrontendKey(ServiceKey("prod", "shop", "web"), 80)
    assert render(key) == {
        "text": "prod/shop/web:80/TCP",
        "service": {
            "text": "prod/shop/web",
            "cluster": "prod",
            "namespace": "shop",
            "name": "web",
        },
        "port": 80,
        "protocol": "TCP",
    }
    assert render(Address("2001:db8::1", 80)) == {
        "text": "[2001:db8::1]:80",
        "ip": "2001:db8::1",
        "port": 80,
    }


def test_words_numbers_and_paths() -> None:
    assert render(BackendReason.NODE_DELETING) == "node_deleting"
    assert render(float("inf")) is None
    assert render(Path("/etc/nplb/nplb.yaml")) == "/etc/nplb/nplb.yaml"
    assert render({Cause.REFUSED: 3}) == {"refused": 3}
    buckets = render(Probing(latency_buckets=((0.1, 2), (float("inf"), 1))))["latency_buckets"]
    assert buckets == [[0.1, 2], [None, 1]]
    with pytest.raises(TypeError, match="object has no form"):
        render(object())


def test_a_status_says_what_it_amounts_to() -> None:
    document = render_status(troubled())
    assert document["is_ready"] is False
    states = {f["key"]["text"]: f["state"] for f in document["plan"]["frontends"]}
    assert states == {
        "prod/shop/api:80/TCP": "conflict",
        "prod/shop/mail:25/TCP": "no_backend",
        "prod/shop/web:80/TCP": "serving",
    }
    web = document["plan"]["frontends"][2]
    assert web["backends"][1]["key"]["node"] == "node-1"
    assert web["backends"][1]["key"]["address"]["text"] == "10.0.0.2:30080"
    assert web["backends"][1]["reason"] == "refused"
    assert document["verdicts"]["10.0.0.2:30080"]["cause"] == "refused"
    assert document["traffic"]["frontends"]["prod/shop/web:80/TCP"]["ends"]["client_closed"] == 90
    assert document["now"] == NOW


@pytest.mark.parametrize("services", [0, 3, 40])
def test_every_status_is_json(services: int) -> None:
    document = render_status(large(services, 3))
    assert json.loads(to_bytes(document)) == document
    assert document["is_ready"] is True


def test_a_stopping_balancer_is_not_ready() -> None:
    assert render_status(replace(status(frontend()), stopping=True))["is_ready"] is False
