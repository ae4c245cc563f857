"""How fast a real Chromium reaches a good picture, and where it stops."""

import pytest
from playwright.async_api import Page

from media.quality import START_BPS
from tests.e2e.media_site import Site, site

__all__ = ["site"]  # a fixture
pytestmark = pytest.mark.alone

GOOD_BPS = 1_500_000
RAMP_MS = 3_000

NOISE = """
async function publishNoise(name) {
  // What a camera never shows: every pixel another one. A fake camera compresses to nothing.
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [1280, 720];
  const context = canvas.getContext('2d');
  const noise = context.createImageData(1280, 720);
  const words = new Uint32Array(noise.data.buffer);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    state = (state * 1664525 + 1013904223) >>> 0;
    words[i] = state | 0xff000000;
  }
  const draw = () => {
    const [x, y] = [Math.random() * 1280 | 0, Math.random() * 720 | 0];
    for (const [dx, dy] of [[0, 0], [1280, 0], [0, 720], [1280, 720]])
      context.putImageData(noise, x - dx, y - dy);
  };
  draw();
  setInterval(draw, 33);
  const [video] = canvas.captureStream(30).getTracks();
  const [audio] = (await navigator.mediaDevices.getUserMedia({audio: true})).getTracks();
  await call(name, '/publish/' + name, async pc => {
    pc.addTransceiver(audio, {direction: 'sendonly'});
    pc.addTransceiver(video, {direction: 'sendonly'});
  });
}
async function ramp(name, until_ms) {
  const pc = calls[name], found = [];
  while (pc.connectionState !== 'connected') await new Promise(done => setTimeout(done, 5));
  const began = performance.now();
  let last = null;
  while (performance.now() - began < until_ms) {
    await new Promise(done => setTimeout(done, 250));
    const all = [...(await pc.getStats()).values()];
    const pair = all.find(s => s.type === 'candidate-pair' && s.nominated);
    const video = all.find(s => s.type === 'outbound-rtp' && s.kind === 'video');
    if (!pair || !video) continue;
    const now = {at: video.timestamp, bytes: video.bytesSent};
    found.push({
      at_ms: performance.now() - began,
      available_bps: pair.availableOutgoingBitrate,
      sent_bps: last ? (now.bytes - last.bytes) * 8000 / (now.at - last.at) : 0,
      target_bps: video.targetBitrate,
    });
    last = now;
  }
  return found;
}
"""


async def test_chromium_reaches_1500_kbits_within_three_seconds_and_keeps_to_the_limit(
    site: tuple[Site, Page],
) -> None:
    _, page = site
    await page.add_script_tag(content=NOISE)
    await page.evaluate("publishNoise('expert')")
    seen = await page.evaluate("ramp('expert', 6000)")
    for one in seen:
        print({name: round(value) for name, value in one.items() if value is not None})
    start = [one for one in seen if one["at_ms"] <= RAMP_MS]
    assert max(one["available_bps"] for one in start) >= GOOD_BPS
    assert max(one["sent_bps"] for one in start) >= GOOD_BPS
    assert max(one["available_bps"] for one in seen) <= START_BPS
    later = [one["sent_bps"] for one in seen if one["at_ms"] > RAMP_MS]
    assert sum(later) / len(later) <= START_BPS
