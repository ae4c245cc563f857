// Peer connections against a fake one: the offer leaves at once, toggles renegotiate nothing.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { restarted, iceOf } from "../../clients/web/js/ice.js";
import { expectToWatch, Publisher, Watcher } from "../../clients/web/js/rtc.js";

const settle = () => new Promise((resolve) => setImmediate(resolve));

class FakeStream {
  tracks = [];
  getTracks() {
    return [...this.tracks];
  }
  addTrack(track) {
    this.tracks.push(track);
  }
  removeTrack(track) {
    this.tracks = this.tracks.filter((other) => other !== track);
  }
}

function bench(kind, options = {}) {
  const log = [];
  const peers = [];
  class FakePeer {
    constructor(configuration) {
      this.configuration = configuration;
      this.connectionState = "new";
      this.transceivers = [];
      this.closed = false;
      peers.push(this);
    }
    addTransceiver(trackOrKind, init) {
      const sender = {
        track: typeof trackOrKind === "string" ? null : trackOrKind,
        getParameters: () => ({ encodings: [{}] }),
        setParameters: async (parameters) => {
          sender.parameters = parameters;
        },
        replaceTrack: async (track) => {
          log.push("replaceTrack");
          sender.track = track;
        },
      };
      this.transceivers.push({ sender, direction: init.direction, encodings: init.sendEncodings });
    }
    getTransceivers() {
      return this.transceivers;
    }
    async createOffer({ iceRestart = false } = {}) {
      log.push(iceRestart ? "createOffer again" : "createOffer");
      this.restarts = (this.restarts ?? 0) + (iceRestart ? 1 : 0);
      const sdp = `offer-${peers.length}`;
      return { type: "offer", sdp: iceRestart ? `${sdp}\r\na=ice-ufrag:new${this.restarts}\r\n` : sdp };
    }
    async getStats() {
      return new Map([["pair", { type: "candidate-pair", bytesReceived: this.received ?? 0 }]]);
    }
    getConfiguration() {
      return this.configuration;
    }
    setConfiguration(configuration) {
      this.configuration = configuration;
    }
    async setLocalDescription() {
      log.push("setLocalDescription");
    }
    async setRemoteDescription({ sdp }) {
      log.push(`setRemoteDescription ${sdp}`);
    }
    close() {
      this.closed = true;
    }
    become(state) {
      this.connectionState = state;
      this.onconnectionstatechange?.();
    }
  }
  const phases = [];
  const Kind = kind === "watch" ? Watcher : Publisher;
  const link = new Kind({
    signal: async (sdp) => {
      log.push(`signal ${sdp}`);
      return `answer to ${sdp}`;
    },
    onPhase: (phase) => phases.push(phase),
    peerClass: FakePeer,
    makeStream: () => new FakeStream(),
    kinds: ["video", "audio"],
    videoBitsPerS: 1_000_000,
    ...options,
  });
  return { link, peers, log, phases, FakePeer };
}

/**
 * A test whose time is ours.
 * @param {string} name
 * @param {() => Promise<void>} run
 */
const timed = (name, run) =>
  test(name, async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    try {
      await run();
    } finally {
      mock.timers.reset();
    }
  });

test("an offer made while somebody pointed at a card is used by the next who watches, once", async () => {
  const { link, peers, log, FakePeer } = bench("watch");
  expectToWatch(async () => [], FakePeer);
  expectToWatch(async () => [], FakePeer);
  await settle();
  assert.deepEqual(log, ["createOffer", "setLocalDescription"]);
  link.open();
  await settle();
  assert.equal(peers.length, 1);
  peers[0].ontrack({ track: { kind: "video" }, receiver: {} });
  assert.equal(link.stream.getTracks().length, 1, "its tracks are heard of");
  link.renew();
  await settle();
  assert.equal(peers.length, 2, "the next connection makes its own");
  link.close();
});

timed("an offer that nobody used is closed, and a publisher does not take it", async () => {
  const { link, peers, FakePeer } = bench("publish");
  expectToWatch(async () => [], FakePeer);
  await settle();
  link.open();
  await settle();
  assert.equal(peers.length, 2);
  mock.timers.tick(10_000);
  await settle();
  assert.deepEqual(peers.map((peer) => peer.closed), [true, false]);
  link.close();
});

test("the offer is sent right after the local description, without waiting for candidates", async () => {
  const { link, log } = bench("watch");
  link.open();
  await settle();
  assert.deepEqual(log, ["createOffer", "setLocalDescription", "signal offer-1", "setRemoteDescription answer to offer-1"]);
  link.close();
});

test("a prepared offer is used once", async () => {
  const { link, log, peers } = bench("watch");
  link.prepare();
  await settle();
  assert.deepEqual(log, ["createOffer", "setLocalDescription"]);
  link.open();
  await settle();
  assert.equal(peers.length, 1);
  link.close();
});

test("opening again keeps the connection", async () => {
  const { link, peers, phases } = bench("watch");
  link.open();
  await settle();
  peers[0].become("connected");
  link.open();
  await settle();
  assert.equal(peers.length, 1);
  assert.deepEqual(phases, ["connecting", "up"]);
  link.close();
});

test("toggles are replaceTrack and nothing else", async () => {
  const { link, log, peers } = bench("publish");
  link.open();
  await settle();
  log.length = 0;
  await link.setTrack("video", { kind: "video", id: "camera" });
  await link.setTrack("video", null);
  assert.deepEqual(log, ["replaceTrack", "replaceTrack"]);
  assert.equal(peers.length, 1);
  assert.deepEqual(peers[0].transceivers.map((t) => t.direction), ["sendonly", "sendonly"]);
  link.close();
});

timed("a broken connection is replaced by one with the same tracks", async () => {
  const { link, peers, phases } = bench("publish");
  const camera = { kind: "video", id: "camera" };
  await link.setTrack("video", camera);
  link.open();
  await settle();
  peers[0].become("connected");
  peers[0].become("failed");
  assert.equal(link.phase, "down");
  mock.timers.tick(250);
  await settle();
  assert.equal(peers.length, 2);
  assert.ok(peers[0].closed);
  assert.equal(peers[1].transceivers[0].sender.track, camera);
  peers[1].become("connected");
  assert.deepEqual(phases, ["connecting", "up", "down", "connecting", "up"]);
  link.close();
});

timed("a short gap is not a break", async () => {
  const { link, peers } = bench("watch");
  link.open();
  await settle();
  peers[0].become("connected");
  peers[0].become("disconnected");
  mock.timers.tick(1_000);
  peers[0].become("connected");
  mock.timers.tick(60_000);
  await settle();
  assert.equal(peers.length, 1);
  link.close();
});

timed("a resting link is not mended", async () => {
  const { link, peers } = bench("watch");
  link.open();
  await settle();
  peers[0].become("connected");
  link.rest();
  assert.equal(link.phase, "up");
  peers[0].become("failed");
  assert.equal(link.phase, "idle");
  mock.timers.tick(60_000);
  await settle();
  assert.equal(peers.length, 1);
  link.open();
  await settle();
  assert.equal(peers.length, 2);
  link.close();
});

timed("a refusal that is final ends the tries; another does not", async () => {
  let code = "link_lost";
  const { link, peers } = bench("watch", {
    signal: async () => {
      throw Object.assign(new Error(code), { code });
    },
    onRefused: (error) => error.code !== "walled",
  });
  link.open();
  await settle();
  assert.equal(link.phase, "down");
  code = "walled";
  mock.timers.tick(250);
  await settle();
  assert.equal(peers.length, 2);
  assert.equal(link.phase, "idle");
  assert.equal(link.wanted, false);
  mock.timers.tick(60_000);
  await settle();
  assert.equal(peers.length, 2);
});

test("the lasting stream swaps tracks and is emptied at the end", async () => {
  const { link, peers } = bench("watch");
  link.open();
  await settle();
  const first = { kind: "video", id: "1" };
  const second = { kind: "video", id: "2" };
  peers[0].ontrack({ track: first, receiver: { jitterBufferTarget: null } });
  link.renew();
  await settle();
  assert.deepEqual(link.stream.tracks, [first], "the last picture stands until the next one is there");
  peers[1].ontrack({ track: second, receiver: {} });
  assert.deepEqual(link.stream.tracks, [first], "also when the answer came but no packet can");
  peers[1].become("connected");
  assert.deepEqual(link.stream.tracks, [second]);
  link.close();
  assert.deepEqual(link.stream.tracks, []);
});

test("an answer that comes after closing is dropped", async () => {
  let answer = () => {};
  const { link, peers, log } = bench("watch", {
    signal: () => new Promise((resolve) => (answer = resolve)),
  });
  link.open();
  await settle();
  link.close();
  answer("late");
  await settle();
  assert.ok(peers[0].closed);
  assert.ok(!log.some((entry) => entry.startsWith("setRemoteDescription")));
});

const ANSWER = [
  "v=0",
  "o=- 77 1 IN IP4 0.0.0.0",
  "m=audio 8189 UDP/TLS/RTP/SAVPF 111",
  "a=ice-ufrag:old",
  "a=ice-pwd:oldoldoldoldoldoldoldold",
  "a=setup:passive",
  "m=video 8189 UDP/TLS/RTP/SAVPF 96",
  "a=ice-ufrag:old",
  "a=ice-pwd:oldoldoldoldoldoldoldold",
  "",
].join("\r\n");

test("an answer for a restarted ICE session differs in version and credentials only", () => {
  const again = restarted(ANSWER, { ufrag: "new", pwd: "newpassword" });
  const back = again
    .replaceAll("ufrag:new", "ufrag:old")
    .replaceAll("pwd:newpassword", "pwd:oldoldoldoldoldoldoldold");
  assert.equal(back, ANSWER.replace("o=- 77 1 ", "o=- 77 2 "));
  assert.deepEqual(iceOf(again), { ufrag: "new", pwd: "newpassword" });
  assert.deepEqual(iceOf("v=0"), { ufrag: "", pwd: "" });
});

/** A link that is up, and what it asks the server to restart. */
async function upAndRestartable(kind, options = {}) {
  const asked = [];
  let nowMs = 0;
  const made = bench(kind, {
    signal: async () => ANSWER,
    iceConfiguration: async () => ({
      iceServers: [{ urls: `turn:at-${nowMs}` }],
      iceTransportPolicy: "relay",
    }),
    restart: async ({ ufrag }) => {
      asked.push(ufrag);
      return { ufrag: `server-${asked.length}`, pwd: "p".repeat(22) };
    },
    nowMs: () => nowMs,
    ...options,
  });
  made.link.open();
  await settle();
  made.peers[0].become("connected");
  made.log.length = 0;
  /** Time passes. */
  const pass = async (ms) => {
    nowMs += ms;
    mock.timers.tick(ms);
    await settle();
  };
  return { ...made, asked, pass };
}

timed("a link that lost its way restarts ICE and keeps its connection and picture", async () => {
  const { link, peers, log, asked, phases, pass } = await upAndRestartable("watch");
  peers[0].become("disconnected");
  await pass(300);
  assert.deepEqual(asked, ["new1"]);
  assert.deepEqual(log.slice(0, 2), ["createOffer again", "setLocalDescription"]);
  assert.match(log[2], /^setRemoteDescription .*o=- 77 2 .*a=ice-ufrag:server-1/s);
  assert.deepEqual(peers[0].configuration, {
    iceServers: [{ urls: "turn:at-300" }],
    iceTransportPolicy: "relay",
    bundlePolicy: "max-bundle",
  });
  peers[0].become("connecting");
  peers[0].become("connected");
  assert.deepEqual(phases, ["connecting", "up", "down", "up"]);
  await pass(60_000);
  assert.equal(peers.length, 1);
  assert.equal(asked.length, 1);
  link.close();
});

timed("a restart that finds no way is made again, and after 27 s a new connection", async () => {
  const { link, peers, asked, pass } = await upAndRestartable("publish");
  peers[0].become("failed");
  await settle();
  assert.equal(asked.length, 1);
  peers[0].become("failed");
  await settle();
  assert.equal(asked.length, 1, "the same loss is not restarted twice at once");
  for (let s = 0; s < 24; s += 6) await pass(6_000);
  assert.deepEqual(asked, ["new1", "new2", "new3", "new4", "new5"]);
  assert.equal(peers.length, 1);
  await pass(6_000);
  await pass(250);
  assert.equal(peers.length, 2);
  assert.ok(peers[0].closed);
  link.close();
});

timed("while the signalling is down a restart waits for it; when it is back it goes at once", async () => {
  let code = "link_lost";
  const { link, peers, pass } = await upAndRestartable("watch", {
    restart: async () => {
      if (code !== "") throw Object.assign(new Error(code), { code });
      return { ufrag: "server", pwd: "p".repeat(22) };
    },
  });
  peers[0].become("failed");
  await settle();
  await pass(2_000);
  await pass(2_000);
  assert.equal(peers[0].restarts, 3);
  code = "";
  link.mend();
  await settle();
  assert.equal(peers[0].restarts, 4);
  peers[0].become("connected");
  assert.equal(link.phase, "up");
  assert.equal(peers.length, 1);
  link.close();
});

timed("a peer that the server does not know any more is replaced", async () => {
  const { link, peers, pass } = await upAndRestartable("watch", {
    restart: async () => {
      throw Object.assign(new Error("no_feed"), { code: "no_feed" });
    },
  });
  peers[0].become("failed");
  await settle();
  assert.equal(link.phase, "down");
  await pass(250);
  assert.equal(peers.length, 2);
  link.close();
});

timed("the signalling came back before the browser noticed anything: another way is looked for", async () => {
  const { link, peers, asked, phases, pass } = await upAndRestartable("watch");
  link.mend();
  await settle();
  assert.deepEqual(asked, ["new1"]);
  assert.equal(link.phase, "up", "it may be well");
  peers[0].become("disconnected");
  await pass(300);
  assert.deepEqual(asked, ["new1", "new2"]);
  peers[0].become("connected");
  assert.deepEqual(phases, ["connecting", "up", "down", "up"]);
  assert.equal(peers.length, 1);
  link.close();
});

timed("two seconds of silence on a living connection make it look for another way, once", async () => {
  const { link, peers, asked, pass } = await upAndRestartable("watch");
  const second = async (bytes, expected = true) => {
    peers[0].received = bytes;
    await pass(1_000);
    await link.checkFlow(expected);
    await settle();
  };
  for (const bytes of [100, 200, 200]) await second(bytes);
  assert.equal(asked.length, 0);
  for (const bytes of [200, 200, 200, 200, 200]) await second(bytes);
  assert.equal(asked.length, 1, "who sends nothing may have nothing to send");
  assert.equal(link.phase, "up");
  await second(300);
  for (const bytes of [300, 300, 300, 300]) await second(bytes, false);
  assert.equal(asked.length, 1, "where nothing is expected, silence says nothing");
  for (const bytes of [400, 400, 400]) await second(bytes);
  assert.equal(asked.length, 2);
  link.rest();
  for (const bytes of [500, 500, 500]) await second(bytes);
  assert.equal(asked.length, 2, "a resting link is not mended");
  assert.equal(link.phase, "up");
  link.close();
});

timed("a silent connection that the server does not know any more is replaced", async () => {
  const { link, peers, pass } = await upAndRestartable("watch", {
    restart: async () => {
      throw Object.assign(new Error("no_feed"), { code: "no_feed" });
    },
  });
  link.mend();
  await pass(250);
  await pass(250);
  assert.equal(peers.length, 2);
  link.close();
});

timed("a way that held all along counts as found", async () => {
  const { link, peers, asked, pass } = await upAndRestartable("watch");
  peers[0].become("disconnected");
  await pass(300);
  peers[0].connectionState = "connected"; // no event came
  await pass(6_000);
  assert.equal(link.phase, "up");
  assert.equal(asked.length, 1);
  link.close();
});

timed("a connection that never was up is replaced, not restarted", async () => {
  const { link, peers, asked, pass } = await upAndRestartable("watch");
  link.renew();
  await settle();
  peers[1].become("failed");
  await pass(250);
  assert.equal(peers.length, 3);
  assert.deepEqual(asked, []);
  link.close();
});

test("a picture for many is sent in layers, and no ceiling is laid over theirs", async () => {
  const { link, peers } = bench("publish", { layered: true });
  link.tracks.video = { kind: "video" };
  link.open();
  await settle();
  const [video, audio] = peers[0].transceivers;
  assert.deepEqual(
    video.encodings.map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy]),
    [["q", 4], ["h", 2], ["f", 1]],
  );
  assert.ok(video.encodings.every(({ scalabilityMode }) => scalabilityMode === "L1T1"));
  assert.equal(audio.encodings, undefined);
  assert.equal(video.sender.parameters, undefined);
  link.close();
});
