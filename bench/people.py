"""People in real Chromium, each on an impaired line of their own: an expert on air, viewers.

A page is told the line's addresses in place of the server's: its origin is the line's, and the
media candidates of every answer are rewritten as it is set. Only public pages and the browser's
own statistics are used.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.async_api import Browser, Page

from bench.impaired_line import LOOPBACK, ImpairedLine

PASSWORD = "correct-horse-9"
STEP_WAIT_MS: Final = 40_000
"""A step takes a second or two; a machine that encodes and decodes four pictures may be busy."""
SAMPLE_MS: Final = 200
"""How often a page reads its statistics; the resolution of what is measured in time."""

ON_A_LINE = """
(() => {
  const [host, port, sampleMs] = LINE;
  const peers = [];
  const set = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    if (!peers.includes(this)) peers.push(this);
    const lines = description.sdp.split("\\r\\n").filter((l) => !/^a=candidate:.* tcp /i.test(l));
    const sdp = lines
      .map((l) => l.replace(/^(a=candidate:\\S+ \\d+ udp \\d+) \\S+ \\d+ /i, `$1 ${host} ${port} `))
      .join("\\r\\n");
    return set.call(this, { type: description.type, sdp });
  };
  const bornMs = performance.timeOrigin;
  const samples = [];
  // What a closed connection had counted stays counted.
  const last = new Map();
  const fields = {
    framesDecoded: 0, framesReceived: 0, freezes: 0, nacks: 0, plis: 0,
    videoPackets: 0, videoLost: 0, audioPackets: 0, audioLost: 0, concealed: 0, samples: 0,
    bytes: 0, sentBytes: 0, repairs: 0,
  };
  async function read(peer) {
    const sum = { ...fields };
    for (const s of (await peer.getStats()).values()) {
      if (s.type === "inbound-rtp") {
        sum.bytes += s.bytesReceived ?? 0;
        if (s.kind === "video") {
          sum.width = s.frameWidth ?? 0;
          sum.framesDecoded += s.framesDecoded ?? 0;
          sum.framesReceived += s.framesReceived ?? 0;
          sum.freezes += s.freezeCount ?? 0;
          sum.nacks += s.nackCount ?? 0;
          sum.plis += s.pliCount ?? 0;
          sum.videoPackets += s.packetsReceived ?? 0;
          sum.videoLost += s.packetsLost ?? 0;
          sum.repairs += s.retransmittedPacketsReceived ?? 0;
        } else {
          sum.audioPackets += s.packetsReceived ?? 0;
          sum.audioLost += s.packetsLost ?? 0;
          sum.concealed += s.concealedSamples ?? 0;
          sum.samples += s.totalSamplesReceived ?? 0;
        }
      } else if (s.type === "outbound-rtp") {
        sum.sentBytes += s.bytesSent ?? 0;
        if (s.kind === "video") {
          // Each layer for itself: the encoder leaves out frames of one and not of another.
          sum[`encoded:${s.rid ?? ""}`] = s.framesEncoded ?? 0;
          sum[`width:${s.rid ?? ""}`] = s.frameWidth ?? 0;
          sum.plis += s.pliCount ?? 0;
          sum.nacks += s.nackCount ?? 0;
        }
      }
    }
    return sum;
  }
  async function sample() {
    const total = { ...fields, atMs: 0, bornMs, peers: peers.length };
    for (const peer of peers) {
      if (peer.connectionState !== "closed") last.set(peer, await read(peer));
      for (const [name, value] of Object.entries(last.get(peer) ?? {})) {
        total[name] = name.startsWith("width") ? value : (total[name] ?? 0) + value;
      }
    }
    total.atMs = performance.timeOrigin + performance.now();
    samples.push(total);
    if (samples.length > 1000) samples.shift();
    setTimeout(() => sample().catch(() => {}), sampleMs);
  }
  void sample();
  window.benchSamples = samples;
})();
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A page's sums at one moment (`at_s` is wall-clock time); see `ON_A_LINE` for their names."""

    at_s: float
    born_ms: float
    """When the document was made: another one means a reload."""
    sums: dict[str, float]

    def __getitem__(self, name: str) -> float:
        """0 for what was not there yet, such as a layer that did not begin."""
        return self.sums.get(name, 0.0)


@dataclass
class OnALine:
    """One person's page and line."""

    name: str
    page: Page
    line: ImpairedLine
    problems: list[str] = field(default_factory=list)

    async def samples(self, since_s: float = 0.0) -> list[Sample]:
        """What the page has counted since then, oldest first."""
        found: list[dict[str, Any]] = await self.page.evaluate("window.benchSamples")
        read = [Sample(float(s["atMs"]) / 1000, float(s["bornMs"]), s) for s in found]
        return [sample for sample in read if sample.at_s >= since_s]

    async def newest(self) -> Sample:
        """The sums of now, at most a sample old."""
        return (await self.samples())[-1]

    async def decodes(self, frames: int, within_s: float = STEP_WAIT_MS / 1000) -> None:
        """Wait until that many more frames are decoded."""
        start = (await self.newest())["framesDecoded"]
        deadline = time.monotonic() + within_s
        while (await self.newest())["framesDecoded"] - start < frames:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} decodes no {frames} frames in {within_s} s")
            await self.page.wait_for_timeout(SAMPLE_MS)

    async def click(self, testid: str) -> None:
        """Click what carries the test id."""
        await self.page.click(f'[data-testid="{testid}"]', timeout=STEP_WAIT_MS)

    async def see(self, testid: str) -> None:
        """Wait until it is visible."""
        await self.page.wait_for_selector(f'[data-testid="{testid}"]', timeout=STEP_WAIT_MS)

    async def go_live(self, expert: str) -> None:
        """Sign in and send the browser's camera."""
        await self.page.goto(f"{self.line.origin}/sign-in")
        await self.page.fill('[data-testid="username"]', expert)
        await self.page.fill('[data-testid="password"]', PASSWORD)
        await self.click("submit")
        await self.see("account-menu")
        await self.page.goto(f"{self.line.origin}/studio")
        await self.click("go-live")
        await self.see("on-air")

    async def watch(self, expert: str) -> None:
        """Into the room, until pictures move and the sound is on."""
        await self.page.goto(f"{self.line.origin}/room/{expert}")
        await self.decodes(10)
        await self.click("tap-for-sound")


@asynccontextmanager
async def on_a_line(browser: Browser, line: ImpairedLine, name: str) -> AsyncIterator[OnALine]:
    """A person with their own cookies whose only way to the server is `line`."""
    context = await browser.new_context(
        permissions=["camera", "microphone"], viewport={"width": 1280, "height": 800}
    )
    try:
        await context.add_init_script(
            ON_A_LINE.replace("LINE", f'["{LOOPBACK}", {line.udp_port}, {SAMPLE_MS}]')
        )
        page = await context.new_page()
        person = OnALine(name, page, line)
        page.on("pageerror", lambda error: person.problems.append(str(error)))
        yield person
    finally:
        await context.close()
