"""A client of the lab's services, one connection per request unless said otherwise."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from nplb.model.keys import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """Read one answer from a connection that may stay open."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").strip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = 0 if head else int(headers.get("content-length", "0"))
    body = await reader.readexactly(length)
    return Answer(status=int(first.split()[1]), headers=headers, body=body)


async def get(
    address: Address, path: str = "/", *, source: str | None = None, timeout: float = 10.0
) -> Answer:
    """GET on a connection of its own. Raises what the connect raises, TimeoutError included."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(
            address.ip, address.port, local_addr=(source, 0) if source else None
        )
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
            return await read_answer(reader)
        finally:
            writer.close()


async def refuses(address: Address) -> bool:
    """Whether a connect is refused. False if it succeeds, or does not end in five seconds.

    A reset is a refusal too: a listener that closes cuts off the connects that it has not taken.
    """
    try:
        async with asyncio.timeout(5.0):
            _, writer = await asyncio.open_connection(address.ip, address.port)
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    except TimeoutError:
        return False
    writer.close()
    return False


async def eventually_refuses(address: Address, refused: bool = True) -> None:
    """Return once connects are refused, or no longer are: what decides it may come a moment later,
    as on a real node."""
    deadline = time.monotonic() + 20.0
    while await refuses(address) is not refused:
        what = "does not refuse" if refused else "refuses"
        assert time.monotonic() < deadline, f"after 20 s, {address} still {what}"
        await asyncio.sleep(0.005)


async def is_silent(address: Address, seconds: float = 0.3) -> bool:
    """Whether a connect is still pending after a while: neither answered nor refused."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.ip, address.port)
    except TimeoutError:
        return True
    except OSError:
        return False
    writer.close()
    return False
