"""The demo's cast: one process, everybody on air and at the desk, gone with its parent."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from clients._failures import EXIT_OK, EXIT_USAGE
from clients.demo_cast import Cast, CastMember, perform

REPO = Path(__file__).parents[2]


def job(server_url: str) -> Cast:
    members = [
        CastMember(expert=name, stream_key="stream-key", username=name, password="pass-word")
        for name in ("ada", "mira")
    ]
    return Cast(server_url=server_url, members=members)


async def test_everybody_publishes_under_their_own_name(whip: Any) -> None:
    stop = asyncio.Event()
    said: list[str] = []
    server_url = whip.url.removesuffix("/whip/ada")
    task = asyncio.create_task(perform(job(server_url), stop=stop, say=said.append))
    await asyncio.wait_for(whip.connected.wait(), 10)
    await whip.receivers[0]["video"].until(lambda r: len(r.packets) > 3)
    stop.set()
    await asyncio.wait_for(task, 10)
    assert any(text.startswith("ada: live") for text in said)
    # This server knows no mira: one who cannot perform does not take the others along.
    assert any(text.startswith("mira is not on air: 404") for text in said)


async def cast_process(first_line: bytes) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clients.demo_cast",
        cwd=REPO,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(first_line)
    await process.stdin.drain()
    return process


@pytest.mark.slow
async def test_ends_when_its_parent_closes_the_pipe(unused_tcp_port: int) -> None:
    member = {"expert": "ada", "stream_key": "k", "username": "ada", "password": "p"}
    line = {"server_url": f"http://127.0.0.1:{unused_tcp_port}", "members": [member]}
    process = await cast_process(json.dumps(line).encode() + b"\n")
    assert process.stderr is not None
    assert process.stdin is not None
    assert b"cannot reach" in await asyncio.wait_for(process.stderr.readline(), 20)
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == EXIT_OK


@pytest.mark.slow
async def test_an_unreadable_job_is_refused() -> None:
    process = await cast_process(b"{}\n")
    assert await asyncio.wait_for(process.wait(), 20) == EXIT_USAGE
