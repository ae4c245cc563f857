"""Real browsers on a network that the kernel impairs: random loss, and nothing at all for long.

Frames are counted, not timed: the camera rests before and after, until nothing is on its way, so
that what was encoded and what was decoded compare to the frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import Person
from tests.e2e.netns import Namespace, namespace
from tests.e2e.people import Stage, quiet, stage

FRAMES = 300
LOSS_PERCENT = 5
OUTAGE_S = 30
BACK_S = 15
"""For a page whose every try takes a moment, on a busy machine."""

ONE_LAYER = """(() => {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (kind, { direction }) {
    return add.call(this, kind, { direction });
  };
})()"""
"""Encoders leave out frames of one layer and not of another: with one, all frames compare."""
REST = """async (rest) => {
  for (const pc of window.parlourDebug.pcs()) {
    for (const { sender } of pc.getTransceivers()) {
      if (rest && sender.track?.kind === "video") {
        window.restingTrack = sender.track;
        window.restingSender = sender;
        await sender.replaceTrack(null);
      } else if (!rest && sender === window.restingSender) {
        await sender.replaceTrack(window.restingTrack);
      }
    }
  }
}"""

COUNT = """async () => {
  const sum = {encoded: 0, decoded: 0};
  for (const pc of window.parlourDebug.pcs()) {
    for (const s of (await pc.getStats()).values()) {
      if (s.kind !== "video") continue;
      if (s.type === "outbound-rtp") sum.encoded += s.framesEncoded ?? 0;
      if (s.type === "inbound-rtp") sum.decoded += s.framesDecoded ?? 0;
    }
  }
  return sum;
}"""


async def encoded(expert: Person) -> int:
    return int((await expert.page.evaluate(COUNT))["encoded"])


async def at_rest(scene: Stage) -> tuple[int, int]:
    """The camera pauses; (frames encoded, frames decoded) once all of them have arrived."""
    await scene.expert.page.evaluate(REST, True)
    before = (-1, -1)
    while True:
        await quiet(0.7)
        decoded = int((await scene.member.page.evaluate(COUNT))["decoded"])
        counted = (await encoded(scene.expert), decoded)
        if counted == before:
            return counted
        before = counted


@asynccontextmanager
async def on_air(folder: Path, expert_script: str = "") -> AsyncIterator[tuple[Namespace, Stage]]:
    """An expert and a member in a namespace of their own, with the server."""
    async with (
        namespace(folder) as net,
        stage(folder / "data", net=net, expert_script=expert_script) as scene,
    ):
        yield net, scene


@pytest.mark.alone
async def test_at_five_per_cent_loss_both_ways_99_of_100_frames_decode(tmp_path: Path) -> None:
    async with on_air(tmp_path, ONE_LAYER) as (net, scene):
        sent_before, decoded_before = await at_rest(scene)
        net.lose_udp_of(scene.server.media_port, LOSS_PERCENT)
        await scene.expert.page.evaluate(REST, False)
        async with asyncio.timeout(60):
            while await encoded(scene.expert) - sent_before < FRAMES:
                await quiet(0.3)
        net.heal()
        sent, decoded = await at_rest(scene)
        sent, decoded = sent - sent_before, decoded - decoded_before
        print(f"{decoded} of {sent} frames at {LOSS_PERCENT} % loss each way")
        assert decoded >= 0.99 * sent


@pytest.mark.patient
async def test_after_half_a_minute_without_a_network_all_is_back(tmp_path: Path) -> None:
    """Page, WebSocket and media are cut for both; both come back by themselves."""
    async with on_air(tmp_path) as (net, scene):
        people = (scene.expert, scene.member)
        for person in people:
            await person.page.evaluate("window.stillHere = true")
        http_port = int(scene.server.http.rpartition(":")[2])
        net.cut(http_port, scene.server.media_port)
        await quiet(1)
        await scene.member.gets_nothing(1)
        await quiet(OUTAGE_S - 2)
        net.heal()
        began = asyncio.get_running_loop().time()
        await scene.member.decodes("video", 10, within_s=BACK_S)
        print(f"picture back after {asyncio.get_running_loop().time() - began:.1f} s")
        await scene.member.decodes("audio", 50, within_s=BACK_S)
        for person in people:
            assert await person.page.evaluate("window.stillHere === true"), "it was reloaded"
