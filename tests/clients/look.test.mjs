// Looking closer at a connection: when the server is asked, what the browser adds, and in which words.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Look } from "../../clients/web/js/figures/look.js";
import { qualityOf } from "../../clients/web/js/figures/quality.js";
import { bitrateText, browserRows, durationText, levelText, serverRows } from "../../clients/web/js/figures/rows.js";
import { addCatalog } from "../../clients/web/js/i18n.js";
import { INITIAL } from "../../clients/web/js/state.js";
import { seen } from "../../clients/web/js/stats.js";
import { session } from "./fixtures.mjs";

const WEB = fileURLToPath(new URL("../../clients/web/", import.meta.url));
addCatalog("en", JSON.parse(readFileSync(`${WEB}i18n/room.en.json`, "utf8")));

function bench(ways = () => []) {
  const sent = [];
  const views = [];
  const wire = {
    async send({ type }) {
      sent.push(type);
      throw new Error("the link is down");
    },
  };
  return { look: new Look({ wire, ways, onChange: (view) => views.push(view) }), sent, views };
}

test("the server counts for us only as long as we look", async () => {
  const { look, sent, views } = bench();
  await look.read();
  assert.deepEqual(sent, []);
  assert.deepEqual(views, []);
  look.toggle();
  look.closer();
  await look.read();
  look.heard({ type: "figures" });
  look.heard({ type: "welcome" });
  assert.deepEqual(sent, ["figures.subscribe", "figures.subscribe"], "a new link is asked again");
  look.toggle();
  look.away();
  assert.deepEqual(sent.slice(2), ["figures.unsubscribe"]);
  assert.deepEqual(views.at(-1), { on: false, seen: {} });
  look.heard({ type: "welcome" });
  look.heard({ type: "figures" });
  assert.deepEqual(sent.slice(3), ["figures.unsubscribe"], "a resumed link that knows an old wish");
});

test("the browser is asked about connections that are up, and not after we looked away", async () => {
  let asked = 0;
  const peer = (connectionState) => ({
    connectionState,
    async getStats() {
      asked += 1;
      return new Map([["1", { type: "inbound-rtp", kind: "video", framesPerSecond: 30 }]]);
    },
  });
  const { look, views } = bench(() => [
    { key: "stream:watch", peer: peer("connected"), direction: "in" },
    { key: "private:publish", peer: peer("connecting"), direction: "out" },
    { key: "private:watch", peer: null, direction: "in" },
  ]);
  look.closer();
  await look.read();
  assert.deepEqual(Object.keys(views.at(-1).seen), ["stream:watch"]);
  assert.equal(views.at(-1).seen["stream:watch"].video.fps, 30);
  const before = asked;
  const reading = look.read();
  look.away();
  await reading;
  assert.deepEqual(views.at(-1), { on: false, seen: {} });
  await look.read();
  assert.equal(asked, before + 1);
});

test("what only the browser knows: way, buffer since the last reading, the largest layer", () => {
  const inbound = (delay, count) => [
    { type: "inbound-rtp", kind: "video", frameWidth: 640, frameHeight: 360, framesPerSecond: 24, framesDropped: 3, freezeCount: 1, jitterBufferDelay: delay, jitterBufferEmittedCount: count },
    { type: "transport", selectedCandidatePairId: "p2" },
    { type: "candidate-pair", id: "p1", nominated: true, state: "succeeded", localCandidateId: "l1" },
    { type: "candidate-pair", id: "p2", localCandidateId: "l2" },
    { type: "local-candidate", id: "l1", candidateType: "host", protocol: "udp" },
    { type: "local-candidate", id: "l2", candidateType: "relay", protocol: "udp" },
  ];
  const first = seen(inbound(10, 100), "in", null);
  assert.equal(first.way, "relay");
  assert.equal(first.video.bufferMs, null);
  assert.equal(seen(inbound(12, 140), "in", first).video.bufferMs, 50);
  assert.equal(seen(inbound(12, 100), "in", first).video.bufferMs, null, "nothing came out since");
  assert.deepEqual([first.video.dropped, first.video.freezes, first.audio.fps], [3, 1, null]);

  const layers = [180, 720, 360].map((frameHeight) => ({ type: "outbound-rtp", kind: "video", frameHeight, frameWidth: 1, qualityLimitationReason: "cpu" }));
  const sent = seen([...layers, { type: "candidate-pair", id: "p", nominated: true, state: "succeeded", localCandidateId: "l" }, { type: "local-candidate", id: "l", candidateType: "host", protocol: "tcp" }], "out", null);
  assert.deepEqual([sent.video.height, sent.video.limitedBy, sent.way], [720, "cpu", "tcp"]);
  assert.equal(seen([{ type: "outbound-rtp", kind: "video", qualityLimitationReason: "none" }], "out", null).video.limitedBy, null);
  assert.equal(seen([], "in", null).way, null);
});

const stream = (change) => ({ kind: "video", codec: "VP8", layer: null, width: 1280, height: 720, bitrate_bps: 1_423_000, packets: 1234, lost_permille: 39, jitter_us: 2500, asked_again: 12, repaired: 11, keyframes_asked: 2, ...change });
const sound = () => stream({ kind: "audio", codec: "opus", width: null, height: null, bitrate_bps: 38_200, lost_permille: null, jitter_us: 400 });
const connection = (change) => ({ feed: "stream", direction: "watch", level: "poor", reason: "loss", transport: "udp", round_trip_us: 23_400, estimate_bps: 900_000, silent_ms: 340, streams: [sound(), stream()], ...change });
const byKey = (rows) => Object.fromEntries(rows.map(({ key, both, video, audio }) => [key, both ?? [video, audio]]));

test("the server's figures in words", () => {
  assert.deepEqual(byKey(serverRows(connection())), {
    quality: "Poor: packets get lost on the way",
    transport: "UDP",
    round_trip: "23 ms",
    estimate: "900 kbit/s",
    silent: "0.3 s ago",
    codec: ["VP8", "opus"],
    size: ["1280 × 720", ""],
    bitrate: ["1.42 Mbit/s", "38 kbit/s"],
    packets: ["1,234", "1,234"],
    loss: ["3.9 %", "–"],
    jitter: ["2.5 ms", "< 1 ms"],
    repairs: ["12 / 11", "12 / 11"],
    keyframes: ["2", ""],
  });
});

test("what is not known is a dash, or no line at all", () => {
  const unknown = stream({ codec: null, width: null, height: null, bitrate_bps: null, lost_permille: null, jitter_us: null });
  const rows = byKey(serverRows(connection({ level: "unknown", reason: "no_report", round_trip_us: null, estimate_bps: null, silent_ms: null, streams: [unknown] })));
  assert.equal(rows.quality, "Not measured yet");
  assert.deepEqual([rows.round_trip, rows.silent, rows.codec, rows.bitrate], ["–", "–", ["–", "–"], ["–", "–"]]);
  assert.ok(!("estimate" in rows) && !("size" in rows) && !("layer" in rows));
  assert.deepEqual(byKey(serverRows(connection({ streams: [] }))).codec, ["–", "–"]);
  assert.deepEqual(browserRows(undefined, "watch"), []);
});

test("the layers of a simulcast have a line each, and the rest is of all of them", () => {
  const layers = [
    stream({ layer: "q", width: 320, height: 180, bitrate_bps: 100_000, packets: 10, lost_permille: null, jitter_us: 9_000, asked_again: 1, repaired: 1, keyframes_asked: 4 }),
    stream({ layer: "f", packets: 1_000 }),
  ];
  const found = byKey(serverRows(connection({ direction: "publish", streams: [sound(), ...layers] })));
  assert.equal(found["layer:q"], "320 × 180, 100 kbit/s");
  assert.equal(found["layer:f"], "1280 × 720, 1.42 Mbit/s");
  const order = Object.keys(found).filter((key) => key.startsWith("layer:"));
  assert.deepEqual(order, ["layer:f", "layer:q"], "the largest first");
  assert.ok(!("size" in found) && !("layer" in found));
  assert.deepEqual(found.bitrate, ["1.52 Mbit/s", "38 kbit/s"]);
  assert.deepEqual(found.packets, ["1,010", "1,234"]);
  assert.deepEqual([found.loss[0], found.jitter[0], found.repairs[0], found.keyframes[0]], ["3.9 %", "9 ms", "13 / 12", "6"]);
});

test("a viewer is told the layer that they get", () => {
  const one = (layer) => byKey(serverRows(connection({ streams: [sound(), stream({ layer })] })));
  assert.deepEqual(one("h").layer, ["half", ""]);
  assert.deepEqual(one("hd").layer, ["hd", ""], "an encoder's own name");
  assert.deepEqual(one("h").size, ["1280 × 720", ""]);
});

test("the browser's figures in words, by direction", () => {
  const kind = { bufferMs: 47.6, fps: 24.2, width: 640, height: 360, dropped: 0, freezes: 2, limitedBy: "bandwidth" };
  const both = { way: "tcp", video: kind, audio: { ...kind, bufferMs: null } };
  assert.deepEqual(byKey(browserRows(both, "watch")), {
    way: "TCP, direct",
    seen_size: ["640 × 360", ""],
    fps: ["24", ""],
    dropped: ["0", ""],
    freezes: ["2", ""],
    buffer: ["48 ms", "–"],
  });
  assert.deepEqual(byKey(browserRows(both, "publish")).limited, ["The line", ""]);
  assert.equal(byKey(browserRows({ ...both, way: null }, "publish")).way, "–");
});

test("numbers are short and have their unit", () => {
  assert.deepEqual([0, 999_499, 999_500, 2_500_000].map(bitrateText), ["0 kbit/s", "999 kbit/s", "1 Mbit/s", "2.5 Mbit/s"]);
  assert.deepEqual([null, 999, 1_000, 9_940, 123_456].map(durationText), ["–", "< 1 ms", "1 ms", "9.9 ms", "123 ms"]);
  assert.equal(levelText("good", "ok"), "Good");
  assert.equal(levelText("poor", "codec_unsupported:video"), "Poor: this browser cannot show the picture");
});

test("every reason that the server judges by has words in both languages", () => {
  const source = readFileSync(fileURLToPath(new URL("../../media/quality.py", import.meta.url)), "utf8");
  const judged = source.slice(source.indexOf("def judge"), source.indexOf("class QualityTrend"));
  const reasons = new Set([...judged.matchAll(/QualityLevel\.(?:POOR|FAIR), "(\w+)"/g)].map((match) => match[1]));
  assert.ok(reasons.size >= 4);
  for (const lang of ["en", "nb"]) {
    const words = JSON.parse(readFileSync(`${WEB}i18n/room.${lang}.json`, "utf8"));
    for (const reason of reasons) assert.ok(words[`quality.reason.${reason}`], `${lang} ${reason}`);
    for (const level of ["good", "fair", "poor", "unknown"]) {
      for (const key of [`quality.own.${level}`, `quality.other.${level}`, `figures.level.${level}`]) assert.ok(words[key], key);
    }
  }
});

test("the worse of the two ends is shown, and one's own when they are alike", () => {
  const at = (quality, running = null) => {
    const levels = Object.fromEntries(Object.entries(quality).map(([key, level]) => [key, { level, reason: key }]));
    const { level, whose, reason } = qualityOf({ ...INITIAL, session: running, quality: levels });
    return [level, whose, reason];
  };
  assert.deepEqual(at({}), ["unknown", "own", "no_report"]);
  assert.deepEqual(at({ "stream:watch": "good" }), ["good", "own", "stream:watch"]);
  assert.deepEqual(at({ "stream:watch": "good", "far:stream:publish": "good" }), ["good", "own", "stream:watch"]);
  assert.deepEqual(at({ "stream:watch": "fair", "far:stream:publish": "fair" }), ["fair", "own", "stream:watch"]);
  assert.deepEqual(at({ "stream:watch": "good", "far:stream:publish": "fair" }), ["fair", "other", "far:stream:publish"]);
  assert.deepEqual(at({ "stream:watch": "poor", "far:stream:publish": "fair" }), ["poor", "own", "stream:watch"]);

  const silent = { "stream:watch": "good", "private:publish": "poor", "far:private:watch": "poor" };
  assert.deepEqual(at(silent, session({ cam2cam: false, two_way_audio: false })), ["good", "own", "stream:watch"], "who sends nothing has no trouble");
  assert.deepEqual(at(silent)[0], "good");
  assert.deepEqual(at(silent, session({ cam2cam: true }))[0], "poor");
});
