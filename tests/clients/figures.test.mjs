// The pure helpers: statistics, checks before going live, amounts that people type, loudness.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browserFamily, levelOf, problemOf } from "../../clients/web/js/devices.js";
import { unitsFromText } from "../../clients/web/js/ui/format.js";
import { figures } from "../../clients/web/js/stats.js";
import { compare, evaluate, mayGoLive } from "../../clients/web/js/studio/checks.js";
import { priceFromText } from "../../clients/web/js/studio/settings.js";

test("bit rate and loss are of the time between two readings", () => {
  const report = (timestamp, bytesReceived, packetsReceived, packetsLost) => [
    { type: "inbound-rtp", kind: "video", timestamp, bytesReceived, packetsReceived, packetsLost, framesDecoded: 10, framesPerSecond: 30, frameWidth: 1280, frameHeight: 720, codecId: "c" },
    { type: "codec", id: "c", mimeType: "video/VP8" },
    { type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.021 },
  ];
  const first = figures(report(1_000, 0, 0, 0), "in", null);
  assert.equal(first.bitsPerS, null);
  assert.equal(first.lossPercent, null);
  const second = figures(report(3_000, 250_000, 90, 10), "in", first);
  assert.equal(second.bitsPerS, 1_000_000);
  assert.equal(second.lossPercent, 10);
  assert.equal(second.rttMs, 21);
  assert.equal(second.codec, "VP8");
});

test("only a missing picture or server blocks going live", () => {
  const good = { online: true, hasVideo: true, width: 1280, height: 720, fps: 30, luma: 90, still: false, hasAudio: true, peak: 0.5 };
  assert.ok(evaluate(good).every((check) => check.level === "ok"));
  for (const warning of [{ luma: 2 }, { still: true }, { width: 320, height: 240 }, { fps: 5 }, { hasAudio: false }, { peak: 0 }]) {
    const checks = evaluate({ ...good, ...warning });
    assert.ok(checks.some((check) => check.level === "warn"), JSON.stringify(warning));
    assert.ok(mayGoLive(checks));
  }
  assert.ok(!mayGoLive(evaluate({ ...good, hasVideo: false })));
  assert.ok(!mayGoLive(evaluate({ ...good, online: false })));
});

test("a black and a still picture are told from a moving one", () => {
  const grey = (value) => new Uint8ClampedArray(32 * 18 * 4).fill(value);
  assert.equal(compare(grey(0), null).luma, 0);
  assert.equal(compare(grey(80), grey(80)).difference, 0);
  assert.ok(compare(grey(80), grey(83)).difference > 0.4);
});

test("amounts are read exactly or not at all", () => {
  assert.equal(unitsFromText("20"), 120_000);
  assert.equal(unitsFromText("12,5"), 75_000);
  assert.equal(unitsFromText("0.01"), 60);
  for (const text of ["", "0", "1.234", "-3", "abc", "1e3"]) assert.equal(unitsFromText(text), null, text);
  assert.equal(priceFromText("2.99"), 299);
  assert.equal(priceFromText("2,9"), 290);
  assert.equal(priceFromText("0"), 0);
  for (const text of ["", "100", "2.999", "x"]) assert.equal(priceFromText(text), null, text);
});

test("device errors have names that people get help for", () => {
  const named = (name) => Object.assign(new Error(), { name });
  assert.equal(problemOf(named("NotAllowedError")), "denied");
  assert.equal(problemOf(named("NotFoundError")), "missing");
  assert.equal(problemOf(named("NotReadableError")), "busy");
  assert.equal(problemOf(named("OverconstrainedError")), "unsuitable");
  assert.equal(problemOf("what"), "failed");
});

test("browsers are told apart for help only", () => {
  assert.equal(browserFamily("Mozilla/5.0 (X11) Gecko/20100101 Firefox/128.0"), "firefox");
  assert.equal(browserFamily("Mozilla/5.0 AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0"), "edge");
  assert.equal(browserFamily("Mozilla/5.0 AppleWebKit/537.36 SamsungBrowser/25.0 Chrome/121.0 Mobile Safari/537.36"), "samsung");
  assert.equal(browserFamily("Mozilla/5.0 AppleWebKit/537.36 Chrome/130.0 Safari/537.36"), "chrome");
  assert.equal(browserFamily("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/17.0 Safari/605.1.15"), "safari");
});

test("loudness runs from silence to full scale", () => {
  assert.equal(levelOf(new Float32Array(64)), 0);
  assert.equal(levelOf(new Float32Array(64).fill(1)), 1);
  const half = levelOf(new Float32Array(64).fill(0.03));
  assert.ok(half > 0.4 && half < 0.6);
});
