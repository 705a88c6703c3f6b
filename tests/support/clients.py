"""Clients of an edge that are at work while something happens to it."""

import asyncio
from typing import Self

from tests.support.edge import Edge, ask


class Crowd:
    """Clients that ask all the time: `asked` how often, `failed` what went wrong. Beside them
    one connection that is never given up."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.asked = 0
        self.failed: list[str] = []
        self._stop = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []
        self._lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        self._clients = [asyncio.create_task(self._ask()) for _ in range(3)]  # noqa: TID251
        self._lines = [await asyncio.open_connection(self.edge.ip, 30007) for _ in range(4)]
        return self

    async def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                answer = await ask(self.edge.ip, 30080)
                if "service web" not in answer:
                    self.failed.append(answer)
            except (OSError, TimeoutError) as error:
                self.failed.append(repr(error))
            self.asked += 1
            await asyncio.sleep(0.02)

    async def old_connections_live(self) -> bool:
        """Whether every connection that was made at the beginning still carries bytes."""
        for reader, writer in self._lines:
            writer.write(b"still here")
            if await reader.readexactly(10) != b"still here":
                return False
        return True

    async def __aexit__(self, *error: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._clients)
        for _, writer in self._lines:
            writer.transport.abort()
        await asyncio.sleep(0)
