"""Running nft: its text in, its text and JSON out."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from nplb.model.errors import HostError, HostPermissionError

log = logging.getLogger(__name__)

# A transaction of hundreds of thousands of elements takes seconds; one that takes this long
# never ends.
TIMEOUT_SECONDS = 120.0


class NftError(HostError):
    """nft refused. `missing` says that what was asked for is not there."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


class Nft:
    """The command. `program` is its name or path."""

    def __init__(self, program: str = "nft") -> None:
        self._program = program

    async def check(self, text: str) -> None:
        """Ask nft and the kernel whether a transaction would be taken.

        Errors: NftError with the refused line; HostPermissionError without the right.
        """
        await self._run(["-c", "-f", "-"], text)

    async def apply(self, text: str) -> None:
        """Apply a transaction, whole or not at all. Errors: as for `check`."""
        await self._run(["-f", "-"], text)

    async def listing(self, *what: str) -> list[dict[str, Any]]:
        """What `nft -j list ...` says, an object for each thing. Errors: as for `check`."""
        answer = await self._run(["-j", "list", *what])
        # nft 1.0.6 writes a warning behind the JSON for maps with counters.
        found, _ = json.JSONDecoder().raw_decode(answer)
        things = found["nftables"]
        assert isinstance(things, list)
        return things

    async def listing_many(self, what: Sequence[str]) -> list[dict[str, Any]]:
        """The same for several lists. Not by one command: nft 1.0.6 prints only some of them.

        Errors: the first one, when all have ended."""
        answers = (self.listing(*each.split()) for each in what)
        found: list[dict[str, Any]] = []
        for things in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(things, BaseException):
                raise things
            found += things
        return found

    async def text(self, *what: str) -> str:
        """What `nft list ...` prints."""
        return await self._run(["list", *what])

    async def _run(self, arguments: list[str], text: str = "") -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError:
            raise HostError(
                f"the command {self._program} is not installed: install nftables (on Debian: "
                "apt-get install nftables), or set plane: relay"
            ) from None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                out, err = await process.communicate(text.encode())
        except TimeoutError:
            raise NftError(f"nft did not end within {TIMEOUT_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise _error(err.decode(errors="replace"))
        return out.decode()


def _error(text: str) -> HostError:
    if "Operation not permitted" in text or "you must be root" in text:
        return HostPermissionError(
            "the kernel plane needs the right CAP_NET_ADMIN to write nftables: run nplb as root "
            "or with AmbientCapabilities=CAP_NET_ADMIN, or set plane: relay"
        )
    lines = text.strip().splitlines()
    shown = "; ".join(line.strip() for line in lines[:3] if line.strip())
    return NftError(f"nft: {shown[:600]}", missing="No such file or directory" in text)
