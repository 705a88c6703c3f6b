"""A real admin server in a thread of its own, for tests of what asks it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nplb.model.keys import Address
from nplb.model.settings import AdminSettings
from nplb.model.status import Status
from nplb.web.server import AdminServer


@contextmanager
def serving(
    status: Status,
    listen: Address = Address("127.0.0.1", 0),
    settings: AdminSettings = AdminSettings(),
) -> Iterator[str]:
    """Serve a status that never changes; yields the server's URL."""
    started = threading.Event()
    urls: list[str] = []
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = AdminServer(status=lambda: status, listen=listen, settings=settings)
        try:
            await server.start()
            urls.append(server.url)
            started.set()
            await stop.wait()
        finally:
            await server.stop()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            started.set()

    thread = threading.Thread(target=run, name="admin-server")
    thread.start()
    started.wait(30)
    try:
        if failures:
            raise failures[0]
        yield urls[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)
    assert not thread.is_alive()
    assert not failures
