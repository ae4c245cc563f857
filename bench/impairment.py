"""Good pictures on bad networks: what people in real Chromium see while their line is impaired.

An expert on air by webcam and three viewers, each on a line of their own (`bench.impaired_line`).
One fault after the other is brought upon one of them, from a printed seed; what it did is read from
the browsers' own statistics and printed as a table beside its criterion. Exit code 1 when a
criterion is not met.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import zlib
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from bench.chromium import chromium
from bench.impaired_line import LOOPBACK, ImpairedLine
from bench.impairment_faults import FAULTS, Finding, Scene
from bench.people import PASSWORD, on_a_line
from bench.server import ServerUnderTest

EXPERT = "luna"
ENCODER = "sol"
VIEWERS = 3
SEED_DEFAULT = 1
WARM_UP_S = 4
"""Encoders and estimators settle before the first fault, and between two of them."""
WARM_UP_FRAMES = 20
FILM = [
    *("-loglevel", "error", "-y"),
    *("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25,noise=alls=20:allf=t"),
    *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
    *("-t", "20", "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline"),
    *("-pix_fmt", "yuv420p", "-g", "50", "-bf", "0"),
    *("-b:v", "1200k", "-minrate", "1200k", "-maxrate", "1200k", "-bufsize", "600k"),
    *("-c:a", "libopus", "-b:a", "48k"),
]
"""What a camcorder sends: 1.2 Mbit/s and a keyframe every two seconds."""


async def measure(names: list[str], seed: int) -> dict[str, object]:
    """Every named fault against one server and the same four people."""
    findings: list[Finding] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = [ImpairedLine(seed) for _ in range(1 + VIEWERS)]
        for line in lines:
            await line.open()
            stack.push_async_callback(line.close)
        config = folder / "parlour.toml"
        origins = ", ".join(f'"{line.origin}"' for line in lines)
        config.write_text(f"[server]\norigins = [{origins}]\n")
        under_test = ServerUnderTest(folder, "--config", str(config))
        await under_test.cli("expert", "add", EXPERT, "--password", PASSWORD)
        server = await stack.enter_async_context(under_test)
        http = (LOOPBACK, int(server.url.rpartition(":")[2]))
        for line in lines:
            line.lead_to(http, (LOOPBACK, server.media_port))
        browser = await stack.enter_async_context(chromium())
        people = [
            await stack.enter_async_context(on_a_line(browser, line, name))
            for line, name in zip(lines, ["expert", "first", "second", "third"], strict=True)
        ]
        await people[0].go_live(EXPERT)
        for viewer in people[1:]:
            await viewer.watch(EXPERT)
        scene = Scene(people[0], people[1:], partial(_encoder, server, folder), EXPERT)
        for name in names:
            for person in people:
                person.line.reseed(zlib.crc32(f"{seed}/{name}/{person.name}".encode()))
            for viewer in people[1:]:
                await viewer.decodes(WARM_UP_FRAMES)  # a fault before may have left it paused
            await asyncio.sleep(WARM_UP_S)
            try:
                found = await FAULTS[name](scene)
            except RuntimeError as error:
                found = [Finding(name, "the scene plays to its end", str(error), met=False)]
            for finding in found:
                print(row(finding, seed), flush=True)
            findings += found
        problems = [problem for person in people for problem in person.problems]
        version = browser.version
    return {
        "seed": seed,
        "findings": [finding.as_json() for finding in findings],
        "page_errors": problems,
        "chromium": version,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "met": all(finding.met for finding in findings) and not problems,
    }


async def _encoder(server: ServerUnderTest, folder: Path) -> str:
    """Put an encoder's expert on air, who sends a noisy film as it is; their name."""
    film = folder / "film.mp4"
    made = await asyncio.create_subprocess_exec("ffmpeg", *FILM, str(film))
    if await made.wait() != 0:
        raise RuntimeError("ffmpeg does not make the film")
    await server.publish(ENCODER, str(film), "--loop")
    return ENCODER


HEAD = "| fault | seed | criterion | measured | met |\n|---|---|---|---|---|"


def row(finding: Finding, seed: int) -> str:
    """One line of the table."""
    met = "yes" if finding.met else "NO"
    return f"| {finding.fault} | {seed} | {finding.criterion} | {finding.measured} | {met} |"


def main() -> int:
    """Print the table; with `--json` also write it."""
    parser = argparse.ArgumentParser(prog="python -m bench.impairment", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--only", help=f"comma-separated, of: {', '.join(FAULTS)}")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(FAULTS)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}")
    print(HEAD, flush=True)
    report = asyncio.run(measure(names, options.seed))
    print(
        f"\nChromium {report['chromium']}, Python {report['python']}, {report['machine']}; "
        f"errors in the pages: {report['page_errors'] or 'none'}"
    )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
