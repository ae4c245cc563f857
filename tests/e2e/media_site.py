"""A media plane behind three URLs, and a Chromium page that publishes to it and watches it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page

from bench.chromium import REAL_ADDRESSES
from bench.impaired_line import ImpairedLine
from media.api import BOTH_KINDS, MediaConfig, MediaEvent
from media.server import MediaPlane
from tests.e2e.shared import chromium
from tests.e2e.user_nat import UserNat

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
        self.nat: UserNat | None = None
        self.plane = MediaPlane(
            MediaConfig("127.0.0.1", 0),
            clock_ns=time.monotonic_ns,
            on_event=self.events.append,
        )
        self.lines: dict[str, ImpairedLine] = {}
        """Ways to the server that are to be bad ones, by "publish" and "watch"."""

    async def publish(self, request: web.Request) -> web.Response:
        name, offer = request.match_info["name"], await request.text()
        answer = await self.plane.publish(name, offer, allowed=BOTH_KINDS, replace=True)
        return web.Response(text=self._by_line("publish", answer.sdp))

    async def lay_line(self, role: str, seed: int) -> ImpairedLine:
        """From now on those who "publish" or "watch" come over this line."""
        line = self.lines[role] = ImpairedLine(seed)
        await line.open()
        line.lead_to(("127.0.0.1", 0), ("127.0.0.1", self.plane.port))
        return line

    def _by_line(self, role: str, sdp: str) -> str:
        if self.nat is not None:
            return self.nat.behind(sdp)
        line = self.lines.get(role)
        return sdp if line is None else sdp.replace(str(self.plane.port), str(line.udp_port))

    async def watch(self, request: web.Request) -> web.Response:
        source, name = request.match_info["source"], request.match_info["name"]
        answer = await self.plane.watch(name, await request.text())
        self.plane.forward(source, name)
        return web.Response(text=self._by_line("watch", answer.sdp))

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    def event(self, kind: type[MediaEvent]) -> MediaEvent | None:
        return next((event for event in self.events if isinstance(event, kind)), None)


@pytest_asyncio.fixture(loop_scope="session")
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
    async with chromium(REAL_ADDRESSES) as browser:
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port}/")
        yield made, page
    await runner.cleanup()
    for line in made.lines.values():
        await line.close()
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
