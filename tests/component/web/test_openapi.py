"""The API is what its description says."""

from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from nplb.model.keys import Address
from nplb.model.ledger import Band, BandView, LedgerView
from nplb.model.status import Status
from nplb.web.openapi import openapi
from nplb.web.server import AdminServer
from tests.support.status import NOW, large, status, troubled

LEDGER = LedgerView(
    cluster="prod",
    port_range="30000-32767",
    base=30000,
    size=2768,
    observed_at=NOW,
    bands=(BandView(band=Band.STATIC, first=30000, last=30085, used=1),),
)

PATHS = [
    "/api/v1/status",
    "/api/v1/decisions?limit=5",
    "/api/v1/decisions?kind=oops",
    "/api/v1/frontend?key=prod/shop/web:80/TCP",
    "/api/v1/frontend?key=none",
    "/api/v1/node?cluster=prod&name=node-1",
    "/api/v1/node?cluster=prod",
    "/api/v1/explain/prod/shop/web",
    "/api/v1/explain/prod/shop/web/node-1",
    "/api/v1/explain/prod/shop/none",
    "/api/v1/explain/prod/shop/web/none",
    "/api/v1/ports",
    "/api/v1/drains",
    "/api/v1/history",
    "/api/v1/history?frontend=prod/shop/web:80/TCP",
]


def template(path: str) -> str:
    """The path as the description has it."""
    path = path.partition("?")[0]
    if path.startswith("/api/v1/explain/"):
        names = ("cluster", "namespace", "service", "node")
        parts = path.removeprefix("/api/v1/explain/").split("/")
        return "/api/v1/explain/" + "/".join(f"{{{name}}}" for name in names[: len(parts)])
    return path


def schema_of(path: str, code: int) -> Any:
    document = openapi()
    answer = document["paths"][template(path)]["get"]["responses"][str(code)]
    return {"components": document["components"]} | answer["content"]["application/json"]["schema"]


STATES = {
    "empty": status(),
    "troubled": troubled(),
    "many": large(20, 3),
    "ledger": status(ledgers=(LEDGER,)),
}


@pytest.mark.parametrize("name", STATES)
async def test_every_answer_is_as_described(name: str) -> None:
    def give() -> Status:
        return STATES[name]

    server = AdminServer(status=give, listen=Address("127.0.0.1", 0))
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            for path in PATHS:
                async with session.get(server.url + path) as answer:
                    schema = schema_of(path, answer.status)
                    Draft202012Validator(schema).validate(await answer.json())
            async with session.get(server.url + "/api/v1/openapi.json") as answer:
                assert await answer.json() == openapi()
    finally:
        await server.stop()


def test_every_path_is_described() -> None:
    assert set(openapi()["paths"]) == {template(path) for path in PATHS} | {
        "/api/v1/events",
        "/api/v1/drains/{cluster}/{node}",
        "/api/v1/ports/check",
    }
    for schema in openapi()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
