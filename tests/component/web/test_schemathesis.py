"""Requests that schemathesis makes up out of the API's description, good ones and bad ones."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from nplb.model.keys import Address
from nplb.model.settings import AdminSettings
from nplb.observe.journal import Journal
from nplb.web.server import AdminServer
from tests.component.web.test_rights import CHANGING, Drained, refusing
from tests.support.status import troubled

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="needs schemathesis")
@pytest.mark.timeout(180)
async def test_every_answer_to_any_request_is_as_described(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(CHANGING)
    token.chmod(0o600)
    server = AdminServer(
        status=troubled,
        listen=Address("127.0.0.1", 0),
        journal=Journal(),
        settings=AdminSettings(token_file=token),
        drains=Drained(),
        check_manifest=refusing,
    )
    await server.start()
    try:
        process = await asyncio.create_subprocess_exec(
            str(SCHEMATHESIS),
            "run",
            f"{server.url}/api/v1/openapi.json",
            f"--header=Authorization: Bearer {CHANGING}",
            # A stream has no end.
            "--exclude-path=/api/v1/events",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=10",
            "--seed=1",
            "--no-shrink",
            "--no-color",
            "--warnings=off",
            # Reading needs no token here, and a Service or a node may be unknown.
            "--exclude-checks=ignored_auth,positive_data_acceptance",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1"},
        )
        told, _ = await process.communicate()
    finally:
        await server.stop()
    assert process.returncode == 0, told.decode()
