"""`parlour publish` and `parlour watch` against a real server, as their users run them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.harness import PARLOUR, REPO, running_server
from tests.e2e.publisher import publishing, says

EXPERT = "ada"


def film(path: Path) -> Path:
    """Ten seconds as a camcorder writes them: H.264 High without B-frames, and AAC."""
    made = ["-f", "lavfi", "-i", "testsrc=size=640x360:rate=25:duration=10"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=10"]
    codecs = ["-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    command = ["ffmpeg", "-loglevel", "error", *made, *sound, *codecs, str(path)]
    subprocess.run(command, check=True)
    return path


async def test_a_camcorders_file_goes_through_untouched(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data") as server:
        key = server.expert(EXPERT)
        words = ("--input", str(film(tmp_path / "film.mp4")), "--loop")
        async with publishing(server, EXPERT, key, *words) as publisher:
            summary = await server.watched(EXPERT)
            video, audio = summary["tracks"]["video"], summary["tracks"]["audio"]
            assert (video["codec"], audio["codec"]) == ("H264", "opus")
            assert video["keyframes"] >= 2
            assert audio["packets"] > 100
            assert video["lost"] == audio["lost"] == 0
            # A picture at once, from the server's keyframe cache, and not with the next keyframe.
            assert video["first_keyframe_ms"] - video["first_packet_ms"] < 300

            second = await asyncio.create_subprocess_exec(
                *PARLOUR,
                "publish",
                "--input",
                "test:second",
                "--whip",
                f"{server.url}/whip/{EXPERT}",
                "--key",
                key,
                cwd=REPO,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await asyncio.wait_for(second.communicate(), 30)
            assert second.returncode == 3
            assert b"409" in said
            assert publisher.returncode is None


async def test_the_publisher_comes_back_to_a_server_that_was_killed(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        publishing(server, EXPERT, server.expert(EXPERT), "--input", "test:ada") as publisher,
    ):
        assert (await server.watched(EXPERT))["tracks"]["video"]["codec"] == "VP8"
        await server.kill()
        await says(publisher, "trying again")
        await server.start()
        await says(publisher, "live:")
        assert (await server.watched(EXPERT))["tracks"]["video"]["packets"] > 20


async def test_ending_the_publisher_ends_the_publication(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        key = server.expert(EXPERT)
        async with publishing(server, EXPERT, key, "--input", "test:ada") as publisher:
            publisher.terminate()
            assert await asyncio.wait_for(publisher.wait(), 15) == 0
        # The key is free at once: the publisher said goodbye.
        async with publishing(server, EXPERT, key, "--once", "--input", "test:ada"):
            assert (await server.watched(EXPERT, 1))["tracks"]["audio"]["packets"] > 0


@contextmanager
def alone() -> Iterator[tuple[str, ...]]:
    """A network namespace that has its loopback interface and nothing else."""
    name = f"prl-alone-{os.getpid():x}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


async def test_a_machine_with_loopback_only_is_enough(tmp_path: Path) -> None:
    with alone() as prefix:
        async with (
            running_server(tmp_path, prefix=prefix) as server,
            publishing(server, EXPERT, server.expert(EXPERT), "--input", "test:ada"),
        ):
            summary = await server.watched(EXPERT)
            assert summary["tracks"]["video"]["keyframes"] >= 1
            assert summary["connected_ms"] < 3000
