"""GStreamer publishes to a real server over WHIP, and `parlour watch` counts what comes out.

libnice offers no loopback candidates, so the server and the encoder live in two network
namespaces with a cable between them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.harness import Server, running_server
from tests.e2e.netns import SERVER_ADDRESS, cable

EXPERT = "ada"
SYSTEM_PYTHON = "/usr/bin/python3"
ENCODER = Path(__file__).with_name("gst_whip_publisher.py")
WATCHED_S = 4


async def events_until(
    encoder: asyncio.subprocess.Process, wanted: str
) -> dict[str, dict[str, object]]:
    """The encoder's events up to the wanted one, by name."""
    assert encoder.stdout is not None
    seen: dict[str, dict[str, object]] = {}
    while wanted not in seen:
        line = await asyncio.wait_for(encoder.stdout.readline(), 30)
        assert line, f"the encoder ended without {wanted!r}: {seen}"
        if line.startswith(b"{"):
            event = json.loads(line)
            seen[event["event"]] = event
    return seen


@pytest.mark.parametrize(
    ("codec", "name", "trickle"), [("vp8", "VP8", True), ("h264", "H264", False)]
)
async def test_a_third_party_encoder_is_on_air(
    codec: str, name: str, trickle: bool, tmp_path: Path
) -> None:
    """Once with its candidates in the offer, once trickling them after the answer."""
    async with (
        cable(tmp_path) as (server_net, encoder_net),
        running_server(
            tmp_path / "data",
            http=f"{SERVER_ADDRESS}:0",
            media=f"{SERVER_ADDRESS}:0",
            prefix=server_net.prefix,
        ) as server,
    ):
        key = server.expert(EXPERT)
        await publish_and_watch(server, key, encoder_net.prefix, codec, name, trickle)


async def publish_and_watch(
    server: Server,
    key: str,
    at_encoder: tuple[str, ...],
    codec: str,
    name: str,
    trickle: bool,
) -> None:
    encoder = await asyncio.create_subprocess_exec(
        *at_encoder,
        SYSTEM_PYTHON,
        str(ENCODER),
        f"{server.url}/whip/{EXPERT}",
        key,
        codec,
        *(["trickle"] if trickle else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert encoder.stdin is not None
    try:
        seen = await events_until(encoder, "connected")
        offer = str(seen["offer"]["sdp"])
        # The peculiarities this test is for: if GStreamer loses them, it proves less.
        for peculiarity in ("a=sendrecv", "a=mid:video0", "OPUS/48000", "a=bundle-only"):
            assert peculiarity in offer
        summary = await server.watched(EXPERT, WATCHED_S)
        video, audio = summary["tracks"]["video"], summary["tracks"]["audio"]
        assert (video["codec"], audio["codec"]) == (name, "opus")
        assert video["keyframes"] >= 1
        assert video["packets"] >= 10 * WATCHED_S
        assert audio["packets"] >= 40 * WATCHED_S
        assert video["lost"] == audio["lost"] == 0
        encoder.stdin.close()
        seen |= await events_until(encoder, "deleted")
        assert ("a=candidate" in offer) != trickle
        if trickle:
            assert seen["trickled"]["status"] == 204
            assert int(str(seen["trickled"]["candidates"])) >= 1
        assert await asyncio.wait_for(encoder.wait(), 10) == 0
    finally:
        if encoder.returncode is None:
            encoder.kill()
            await encoder.wait()
