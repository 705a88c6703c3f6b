"""The one session that all feeds of a source share: opened when needed, replaced when old."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from nplb.sources.kubernetes.session import Session


class _Lease:
    """A session and how many use it. The last one to leave an old session closes it."""

    def __init__(self, session: Session, opened_at: float) -> None:
        self.session = session
        self.opened_at = opened_at
        self.users = 0
        self.retired = False


class Sessions:
    """Hands out the current session, at most `max_age_seconds` old when handed out.

    `open_session` makes a new one and raises what is wrong when it can't. `clock` is monotonic
    seconds. Whoever holds a session keeps it until done, also after it was replaced.
    """

    def __init__(
        self,
        open_session: Callable[[], Awaitable[Session]],
        max_age_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._open_session = open_session
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._current: _Lease | None = None
        self._lock = asyncio.Lock()
        self._failed: tuple[float, Exception] | None = None

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Session]:
        """The current session, for as long as the `async with` lasts.

        Errors: whatever opening a new one raises; all who waited for it get the same error, so
        that a plugin that fails slowly runs once and not once for each of them.
        """
        lease = await self._lease()
        lease.users += 1
        try:
            yield lease.session
        finally:
            lease.users -= 1
            if lease.retired and not lease.users:
                await lease.session.close()

    async def _lease(self) -> _Lease:
        asked_at = self._clock()
        async with self._lock:
            current = self._current
            if current is not None:
                if self._clock() - current.opened_at < self._max_age_seconds:
                    return current
                await self._retire(current)
            if self._failed is not None and self._failed[0] >= asked_at:
                raise self._failed[1]
            try:
                session = await self._open_session()
            except Exception as error:
                self._failed = self._clock(), error
                raise
            self._current = _Lease(session, self._clock())
            return self._current

    async def renew(self, session: Session) -> None:
        """Hand this session out no more: the next user opens another."""
        if self._current is not None and self._current.session is session:
            await self._retire(self._current)

    async def _retire(self, lease: _Lease) -> None:
        self._current = None
        lease.retired = True
        if not lease.users:
            await lease.session.close()

    async def close(self) -> None:
        """Close the current session, once nobody uses it."""
        if self._current is not None:
            await self._retire(self._current)
