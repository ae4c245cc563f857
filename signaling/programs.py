"""Child processes beside the server: started, restarted within bounds, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

RESTART_FIRST_S, RESTART_MAX_S = 1.0, 30.0
RESTARTS_MAX = 20
"""A program that fails this often will not do better; the server goes on without it."""
STEADY_S = 60.0
"""Having run for this long, a program's earlier failures are forgotten."""
STOP_S = 5.0
NICE = 5
"""The demo's encoders yield to the server on a small machine."""


@dataclass(frozen=True, slots=True)
class Program:
    """A Python module to keep running; `job` is one line for its standard input.

    Secrets are in the job: arguments and environment can be read by others on the machine.
    """

    name: str
    module: str
    job: bytes = field(default=b"", repr=False)


@contextlib.asynccontextmanager
async def running(programs: Sequence[Program]) -> AsyncIterator[None]:
    """Keep the programs running for as long as the context."""
    tasks = [asyncio.create_task(_keep(program)) for program in programs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _keep(program: Program) -> None:
    loop = asyncio.get_running_loop()
    pause_s = RESTART_FIRST_S
    failures = 0
    while failures <= RESTARTS_MAX:
        begun_s = loop.time()
        code = await _run_once(program)
        if loop.time() - begun_s > STEADY_S:
            failures, pause_s = 0, RESTART_FIRST_S
        failures += 1
        log.warning("program ended", program=program.name, code=code, again_in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, RESTART_MAX_S)
    log.error("program given up", program=program.name)


async def _run_once(program: Program) -> int:
    """Run to its end; if cancelled, ask it to end, then make it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        program.module,
        stdin=asyncio.subprocess.PIPE,  # its end tells the child that we are gone, kill -9 or not
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the server, which then ends its programs in order
    )
    try:
        assert process.stdin is not None
        assert process.stderr is not None
        os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        process.stdin.write(program.job + b"\n")
        async for line in process.stderr:
            log.info(
                "program says", program=program.name, line=line.decode(errors="replace").strip()
            )
        return await process.wait()
    finally:
        if process.returncode is None:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
