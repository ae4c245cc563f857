// Peer connections against a fake one: the offer leaves at once, toggles renegotiate nothing.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
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
      this.transceivers.push({ sender, direction: init.direction });
    }
    getTransceivers() {
      return this.transceivers;
    }
    async createOffer() {
      log.push("createOffer");
      return { type: "offer", sdp: `offer-${peers.length}` };
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

test("an offer that nobody used is closed, and a publisher does not take it", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
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
  } finally {
    mock.timers.reset();
  }
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

test("a broken connection is replaced by one with the same tracks", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
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
  } finally {
    mock.timers.reset();
  }
});

test("a short gap is not a break", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
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
  } finally {
    mock.timers.reset();
  }
});

test("a resting link is not mended", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
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
  } finally {
    mock.timers.reset();
  }
});

test("a refusal that is final ends the tries; another does not", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
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
  } finally {
    mock.timers.reset();
  }
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
