"""Publish and watch through the media plane alone, with a real Chromium on both ends."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

from media.api import BOTH_KINDS, MediaConfig, MediaEvent, SourceGone, SourceUp, ViewerGone
from media.server import MediaPlane
from tests.media.attacks import ATTACKS

pytestmark = pytest.mark.e2e

FLAGS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]

PAGE = """<!doctype html><meta charset=utf-8><title>media</title><script>
const post = async (path, sdp) => (await fetch(path, {method: 'POST', body: sdp})).text();
const calls = {};
async function call(name, path, setUp) {
  const pc = calls[name] = new RTCPeerConnection();
  await setUp(pc);
  const offer = await pc.createOffer();
  // The answer is asked for before candidates are gathered: the server is ICE-lite.
  const sdp = await post(path, offer.sdp);
  await pc.setLocalDescription(offer);
  await pc.setRemoteDescription({type: 'answer', sdp});
  return sdp;
}
function prefer(transceiver, kind, codec) {
  if (!codec) return;
  const all = RTCRtpReceiver.getCapabilities(kind).codecs;
  const is = c => c.mimeType.toLowerCase() === codec.toLowerCase();
  transceiver.setCodecPreferences([...all.filter(is), ...all.filter(c => /rtx/.test(c.mimeType))]);
}
const publish = (name, codec) => call(name, '/publish/' + name, async pc => {
  const size = {width: 640, height: 480, frameRate: 30};
  const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: size});
  for (const track of stream.getTracks()) {
    const t = pc.addTransceiver(track, {direction: 'sendonly', streams: [stream]});
    if (track.kind === 'video') prefer(t, 'video', codec);
  }
});
const publishSilence = name => call(name, '/publish/' + name, async pc => {
  const [track] = (await navigator.mediaDevices.getUserMedia({audio: true})).getTracks();
  track.enabled = false;
  pc.addTransceiver(track, {direction: 'sendonly'});
});
const watch = (name, source) => call(name, '/watch/' + source + '/' + name, async pc => {
  for (const kind of ['audio', 'video']) pc.addTransceiver(kind, {direction: 'recvonly'});
  const video = document.createElement('video');
  video.autoplay = video.playsInline = true;
  const stream = new MediaStream();
  video.srcObject = stream;
  pc.ontrack = event => stream.addTrack(event.track);
  document.body.append(video);
  const started = performance.now();
  video.requestVideoFrameCallback(() => { pc.firstFrameMs = performance.now() - started; });
});
async function stats(name) {
  const pc = calls[name], found = {state: pc.connectionState, firstFrameMs: pc.firstFrameMs};
  const codecs = {};
  const all = [...(await pc.getStats()).values()];
  for (const s of all) if (s.type === 'codec') codecs[s.id] = s.mimeType;
  for (const s of all) {
    if (s.type === 'inbound-rtp' || s.type === 'outbound-rtp')
      found[s.kind] = {...s, codec: codecs[s.codecId]};
    if (s.type === 'transport') found.transport = s;
  }
  return found;
}
</script>"""


class Site:
    """A media plane behind three URLs, and a browser page that speaks to it."""

    def __init__(self) -> None:
        self.events: list[MediaEvent] = []
        self.plane = MediaPlane(
            MediaConfig("127.0.0.1", 0),
            clock_ns=time.monotonic_ns,
            on_event=self.events.append,
        )

    async def publish(self, request: web.Request) -> web.Response:
        name, offer = request.match_info["name"], await request.text()
        answer = await self.plane.publish(name, offer, allowed=BOTH_KINDS, replace=True)
        return web.Response(text=answer.sdp)

    async def watch(self, request: web.Request) -> web.Response:
        source, name = request.match_info["source"], request.match_info["name"]
        answer = await self.plane.watch(name, await request.text())
        self.plane.forward(source, name)
        return web.Response(text=answer.sdp)

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    def event(self, kind: type[MediaEvent]) -> MediaEvent | None:
        return next((event for event in self.events if isinstance(event, kind)), None)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[tuple[Site, Page]]:
    made = Site()
    await made.plane.start()
    app = web.Application()
    app.router.add_get("/", made.page)
    app.router.add_post("/publish/{name}", made.publish)
    app.router.add_post("/watch/{source}/{name}", made.watch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=FLAGS
        )
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port}/")
        yield made, page
        await browser.close()
    await runner.cleanup()
    await made.plane.close()


async def stats_when(page: Page, name: str, condition: Any) -> dict[str, Any]:
    """Polls a peer connection's statistics until they satisfy the condition."""
    found: dict[str, Any] = {}
    for _ in range(100):
        found = await page.evaluate("name => stats(name)", name)
        if condition(found):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{name} never got there: {found}")


def decodes(frames: int) -> Any:
    """True for statistics of a viewer that decoded so many pictures and hears sound."""
    return lambda found: (
        found.get("video", {}).get("framesDecoded", 0) >= frames
        and found.get("audio", {}).get("totalAudioEnergy", 0) > 0
    )


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264", "video/VP9", "video/AV1"])
async def test_chromium_publishes_and_chromium_decodes(site: tuple[Site, Page], codec: str) -> None:
    made, page = site
    await page.evaluate("codec => publish('expert', codec)", codec)
    await stats_when(page, "expert", lambda s: s.get("video", {}).get("framesEncoded", 0) > 10)
    await page.evaluate("watch('guest', 'expert')")
    found = await stats_when(page, "guest", decodes(60))
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
