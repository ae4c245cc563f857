"""Publish and watch through the media plane alone, with a real Chromium on both ends."""

import asyncio
import socket
from typing import Any

import pytest
from playwright.async_api import Page

from bench.impaired_link import Impairment
from media.api import SourceGone, SourceUp, ViewerGone
from tests.e2e.media_site import Site, decodes, site, stats_when
from tests.media.attacks import ATTACKS

__all__ = ["site"]  # a fixture


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264", "video/VP9", "video/AV1"])
async def test_chromium_publishes_and_chromium_decodes(site: tuple[Site, Page], codec: str) -> None:
    made, page = site
    await page.evaluate("codec => publish('expert', codec)", codec)
    await stats_when(page, "expert", lambda s: s.get("video", {}).get("framesEncoded", 0) > 10)
    await page.evaluate("watch('guest', 'expert')")
    await stats_when(page, "guest", decodes(60))
    found = await stats_when(page, "guest", lambda s: s["video"]["frameHeight"] == 480)
    assert found["video"]["codec"] == codec
    assert found["video"]["frameHeight"] == 480
    assert found["video"]["packetsLost"] == 0
    assert found["transport"]["srtpCipher"] == "SRTP_AEAD_AES_128_GCM"
    assert found["transport"]["dtlsRole"] == "client"
    assert found["firstFrameMs"] < 2_000
    print(codec, "first frame", found["firstFrameMs"], "ms")
    assert made.event(SourceUp) is not None


async def test_a_silent_chromium_sends_little_and_stays_on_air(site: tuple[Site, Page]) -> None:
    made, page = site
    await page.evaluate("publishSilence('expert')")
    await page.evaluate("watch('guest', 'expert')")
    first = await stats_when(page, "guest", lambda s: s.get("audio", {}).get("packetsReceived"))
    await asyncio.sleep(3)
    last = (await page.evaluate("stats('guest')"))["audio"]
    per_s = (last["packetsReceived"] - first["audio"]["packetsReceived"]) / 3
    assert 1 < per_s < 12, per_s  # 50 of speech, 2.5 of silence, and how it begins
    assert last["packetsLost"] == 0
    assert made.plane.source_state("expert") is not None
    assert [type(event).__name__ for event in made.events if "Source" in type(event).__name__] == [
        "SourceUp"
    ]


async def test_sound_corrects_errors_where_packets_are_lost(site: tuple[Site, Page]) -> None:
    """Opus repeats a packet's gist in the next one where reports tell of loss (RFC 6716 §2.1.7)."""
    made, page = site
    line = await made.lay_line("publish", seed=1)
    line.impair(up=Impairment(loss_percent=10, delay_ms=10), down=Impairment(delay_ms=10))
    await page.evaluate("publish('expert')")
    await page.evaluate("watch('guest', 'expert')")

    def corrected(found: dict[str, Any]) -> bool:
        audio = found.get("audio", {})
        return audio.get("fecPacketsReceived", 0) > 20 and audio["packetsLost"] > 5

    await stats_when(page, "guest", corrected)


async def test_a_closed_tab_ends_its_peers_and_a_second_viewer_goes_on(
    site: tuple[Site, Page],
) -> None:
    made, page = site
    await page.evaluate("publish('expert', 'video/VP8')")
    await page.evaluate("watch('guest', 'expert')")
    await page.evaluate("watch('other', 'expert')")
    await stats_when(page, "guest", decodes(10))
    await page.evaluate("calls.guest.close()")
    for _ in range(50):
        if made.event(ViewerGone) is not None:
            break
        await asyncio.sleep(0.1)
    assert made.event(ViewerGone) == ViewerGone("guest", "closed_by_peer")
    before = await stats_when(page, "other", decodes(10))
    await stats_when(page, "other", decodes(before["video"]["framesDecoded"] + 30))
    await page.evaluate("calls.expert.close()")
    for _ in range(50):
        if made.event(SourceGone) is not None:
            break
        await asyncio.sleep(0.1)
    assert made.event(SourceGone) is not None


async def test_a_live_call_between_browsers_does_not_notice_a_stranger(
    site: tuple[Site, Page],
) -> None:
    made, page = site
    await page.evaluate("publish('expert', 'video/VP8')")
    await page.evaluate("watch('guest', 'expert')")
    before = await stats_when(page, "guest", decodes(30))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", made.plane.port))
        for datagrams in ATTACKS.values():
            for start in range(0, len(datagrams), 50):
                for datagram in datagrams[start : start + 50]:
                    stranger.send(datagram)
                await asyncio.sleep(0.005)
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
    after = await stats_when(page, "guest", decodes(before["video"]["framesDecoded"] + 60))
    assert after["state"] == "connected"
    assert after["video"]["packetsLost"] == 0
    assert made.plane.metrics().dropped_length > 20
    assert made.plane.metrics().dtls_failures == 0
    assert made.event(ViewerGone) is made.event(SourceGone) is None
