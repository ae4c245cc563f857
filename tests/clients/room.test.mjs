// The room's controller against a fake wire and fake devices: what follows from what.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { RoomController } from "../../clients/web/js/room/controller.js";
import { WireError } from "../../clients/web/js/wire.js";
import { PRICES, entered, hud, session, summary, welcome } from "./fixtures.mjs";

const settle = () => new Promise((resolve) => setImmediate(resolve));

class FakeStream {
  getTracks() {
    return [];
  }
}

class FakePeer {
  connectionState = "new";
  transceivers = [];
  addTransceiver() {
    const sender = { track: null, getParameters: () => ({}), replaceTrack: async () => {} };
    this.transceivers.push({ sender });
  }
  getTransceivers() {
    return this.transceivers;
  }
  async createOffer() {
    return { type: "offer", sdp: "offer" };
  }
  async setLocalDescription() {}
  async setRemoteDescription() {}
  async getStats() {
    return new Map();
  }
  close() {}
}

/** @type {RoomController[]} */
let opened = [];

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  globalThis.MediaStream = FakeStream;
  globalThis.RTCPeerConnection = FakePeer;
});
afterEach(async () => {
  // A controller that stays would try to connect for ever, with real timers.
  for (const controller of opened) await controller.leave();
  opened = [];
  await settle();
  mock.timers.reset();
});

/** A visitor in the room; `refuse` maps a message type to an error code. */
async function bench({ refuse = {}, deny = [], random = () => 0 } = {}) {
  const sent = [];
  const failures = [];
  let hear = () => {};
  const wire = {
    async send(message) {
      sent.push(message);
      const refusal = refuse[message.type];
      if (typeof refusal === "string") throw new WireError(refusal);
      if (refusal) throw refusal;
      return { type: "ack", sdp: "answer" };
    },
    onMessage(listener) {
      hear = listener;
      return () => {};
    },
    onStatus(listener) {
      listener("online");
      return () => {};
    },
    reconnect: mock.fn(),
  };
  let nowMs = 0;
  const controller = new RoomController({
    wire,
    expert: "luna",
    iceConfiguration: async () => ({}),
    fetchSummary: async (id) => summary({ session: id, reason: "server_stopped" }),
    onFailure: (error) => failures.push(error.code ?? error.problem),
    nowMs: () => nowMs,
    random,
  });
  opened.push(controller);
  controller.own.turnOn = async (kind) => {
    sent.push({ type: `open ${kind}` });
    if (deny.includes(kind)) throw Object.assign(new Error(), { name: "DeviceError", kind, problem: "denied" });
    controller.own.tracks[kind] = { kind, enabled: true, stop() {} };
  };
  controller.start();
  hear(welcome());
  hear(entered());
  await settle();
  return {
    controller,
    sent,
    failures,
    wire,
    hear,
    types: () => sent.map((message) => message.type),
    elapse(ms) {
      nowMs += ms;
      mock.timers.tick(ms);
    },
  };
}

const state = (change) => ({ type: "private.state", session: session(change) });
const ask = (change) => ({ cam2cam: false, two_way_audio: false, accepted_units_per_s: 299, spend_limit_units: null, ...change });

test("the offer to watch follows the entry without waiting for its answer", async () => {
  const b = await bench();
  assert.deepEqual(b.types().slice(0, 2), ["room.enter", "media.watch"]);
});

test("a full server is asked again after the time it names, later and later, and said in words", async () => {
  const refuse = { "media.watch": new WireError("overloaded", "full", { retry_after_s: 10 }) };
  const random = mock.fn(() => 0);
  const b = await bench({ refuse, random });
  const asked = () => b.types().filter((type) => type === "media.watch").length;
  assert.equal(asked(), 1);
  assert.equal(b.controller.local.full, true);
  assert.deepEqual(b.failures, [], "the wall says it; no message pops up");
  for (const [waitS, times] of [[10, 2], [20, 3], [40, 4], [60, 5], [60, 6]]) {
    b.elapse(waitS * 1000 - 1);
    await settle();
    assert.equal(asked(), times - 1, `not before ${waitS} s`);
    b.elapse(1);
    await settle();
    assert.equal(asked(), times);
    assert.equal(b.controller.local.full, true);
  }
  random.mock.mockImplementation(() => 0.5);
  b.elapse(60_000);
  await settle();
  b.elapse(60_000);
  await settle();
  assert.equal(asked(), 7, "everybody else asks at another time");
  refuse["media.watch"] = undefined;
  b.elapse(60_000);
  await settle();
  b.controller.watcher.peer.connectionState = "connected";
  b.controller.watcher.peer.onconnectionstatechange();
  assert.equal(b.controller.local.full, false);

  refuse["media.watch"] = new WireError("overloaded", "full", { retry_after_s: 10 });
  random.mock.mockImplementation(() => 0);
  const before = asked();
  b.controller.watcher.renew();
  await settle();
  b.elapse(10_000);
  await settle();
  assert.equal(asked(), before + 2, "another time begins with short waits again");
});

test("a full server is not asked again for a room that has no picture now", async () => {
  const refuse = { "media.watch": new WireError("overloaded", "full", { retry_after_s: 10 }) };
  const b = await bench({ refuse });
  b.hear({ type: "room.state", expert: entered().expert, wall: "offline" });
  assert.equal(b.controller.local.full, false);
  b.elapse(120_000);
  await settle();
  assert.equal(b.types().filter((type) => type === "media.watch").length, 1);
});

test("figures are kept while one looks, and one that comes late is not", async () => {
  const b = await bench();
  const figures = { type: "figures", seq: 9, connections: [{ feed: "stream", direction: "watch", streams: [] }] };
  b.controller.look.toggle();
  assert.deepEqual(b.types().slice(-1), ["figures.subscribe"]);
  b.hear(figures);
  assert.equal(b.controller.server.figures.length, 1);
  assert.equal(b.controller.local.look.on, true);
  b.controller.look.toggle();
  assert.equal(b.controller.server.figures, null);
  b.hear(figures);
  assert.equal(b.controller.server.figures, null);
  assert.equal(b.types().filter((type) => type === "figures.unsubscribe").length, 2, "and it is said again");
  b.controller.look.closer();
  await b.controller.leave();
  assert.deepEqual(b.types().slice(-2), ["figures.unsubscribe", "room.leave"]);
});

test("devices open before it rings; a denied one means that nothing rings", async () => {
  const b = await bench();
  await b.controller.confirmPrivate(ask({ cam2cam: true, two_way_audio: true }));
  assert.deepEqual(b.types().slice(-3), ["open video", "open audio", "private.request"]);

  const denied = await bench({ deny: ["audio"] });
  denied.controller.openDialog({ kind: "start", cam2cam: true, two_way_audio: true });
  await denied.controller.confirmPrivate(ask({ cam2cam: true, two_way_audio: true }));
  assert.ok(!denied.types().includes("private.request"));
  assert.equal(denied.controller.own.tracks.video, null, "the camera is closed again");
  assert.equal(denied.controller.local.failure.problem, "denied");
});

test("a refused request closes the devices and says why in the dialog", async () => {
  const b = await bench({ refuse: { "private.request": "busy" } });
  b.controller.openDialog({ kind: "start", cam2cam: true, two_way_audio: false });
  await b.controller.confirmPrivate(ask({ cam2cam: true }));
  assert.equal(b.controller.local.failure.code, "busy");
  assert.equal(b.controller.own.tracks.video, null);
});

test("the member's feed is offered once the session is connecting, and closed with it", async () => {
  const b = await bench();
  await b.controller.confirmPrivate(ask({ cam2cam: true }));
  b.hear(state());
  await settle();
  assert.ok(!b.types().includes("media.publish"), "not while it rings");
  b.hear(state({ phase: "connecting" }));
  await settle();
  assert.deepEqual(b.sent.at(-1), { type: "media.publish", feed: "private", sdp: "offer" });
  b.hear(summary());
  assert.equal(b.controller.own.tracks.video, null);
  assert.equal(b.controller.own.view.phase, "idle");
});

test("only kinds that the expert takes are offered", async () => {
  const b = await bench();
  await b.controller.confirmPrivate(ask({ cam2cam: true }));
  const publish = mock.method(b.controller.own, "publish", () => {});
  b.hear(state({ phase: "connecting", two_way_audio_possible: false }));
  assert.deepEqual(publish.mock.calls[0].arguments, [["video"]]);
});

test("the price of a switch is confirmed once a session", async () => {
  const b = await bench();
  b.hear(state({ phase: "active" }));
  await b.controller.toggle("cam2cam");
  assert.deepEqual(b.controller.local.dialog, { kind: "switch", component: "cam2cam" });
  await b.controller.switchOn("cam2cam");
  const on = { type: "private.switch", component: "cam2cam", on: true, accepted_units_per_s: PRICES.cam2cam };
  assert.ok(b.sent.some((message) => JSON.stringify(message) === JSON.stringify(on)));
  await settle();
  await b.controller.toggle("cam2cam");
  assert.equal(b.controller.own.tracks.video, null, "off at once, whatever the network does");
  assert.deepEqual(b.sent.at(-1), { type: "private.switch", component: "cam2cam", on: false });
  await b.controller.toggle("cam2cam");
  assert.equal(b.controller.local.dialog, null);
  assert.ok(b.controller.isOn("cam2cam"));
});

test("a switch that the server refuses closes the device", async () => {
  const b = await bench({ refuse: { "private.switch": "insufficient_credits" } });
  b.hear(state({ phase: "active" }));
  await b.controller.toggle("two_way_audio");
  await b.controller.switchOn("two_way_audio");
  assert.ok(!b.controller.isOn("two_way_audio"));
  assert.equal(b.controller.local.failure.code, "insufficient_credits");
});

test("what the server switches off is off here", async () => {
  const b = await bench();
  await b.controller.confirmPrivate(ask({ cam2cam: true }));
  b.hear(state({ phase: "active", cam2cam: true }));
  assert.ok(b.controller.isOn("cam2cam"));
  b.hear(state({ phase: "active", cam2cam: false }));
  assert.ok(!b.controller.isOn("cam2cam"));
});

test("after a reload a camera does not open by itself; its switch goes off", async () => {
  const b = await bench();
  b.hear(entered({ session: session({ phase: "active", cam2cam: true }) }));
  await settle();
  assert.ok(!b.controller.isOn("cam2cam"));
  assert.deepEqual(b.sent.filter((m) => m.type === "private.switch"), [{ type: "private.switch", component: "cam2cam", on: false }]);
});

test("Escape's dialog is not the session: ending closes devices before anything is sent", async () => {
  const b = await bench();
  await b.controller.confirmPrivate(ask({ cam2cam: true }));
  b.hear(state({ phase: "active", cam2cam: true }));
  b.controller.openDialog({ kind: "switch", component: "two_way_audio" });
  b.controller.closeDialog();
  assert.ok(!b.types().includes("private.end"));
  const ending = b.controller.end();
  assert.equal(b.controller.own.tracks.video, null);
  await ending;
  assert.equal(b.sent.at(-1).type, "private.end");
});

test("a server that restarted in a session is asked what it charged", async () => {
  const b = await bench();
  b.hear(state({ phase: "active" }));
  b.hear(hud());
  b.hear(welcome());
  await settle();
  assert.equal(b.controller.server.session, null);
  assert.equal(b.controller.server.summary.reason, "server_stopped");
});

test("a link that is silent in a session is replaced", async () => {
  const b = await bench();
  b.elapse(10_000);
  assert.equal(b.wire.reconnect.mock.callCount(), 0, "outside a session silence is normal");
  b.hear(state({ phase: "active" }));
  b.elapse(7_000);
  assert.equal(b.wire.reconnect.mock.callCount(), 1);
});

test("behind a wall the connection rests; without one it is wanted", async () => {
  const b = await bench();
  assert.equal(b.controller.watcher.wanted, true);
  b.hear({ type: "room.state", expert: entered().expert, wall: "private" });
  assert.equal(b.controller.watcher.wanted, false);
  assert.notEqual(b.controller.watcher.phase, "idle", "and is kept for the way back");
  b.hear({ type: "room.state", expert: entered().expert, wall: "none" });
  assert.equal(b.controller.watcher.wanted, true);
});

test("guests are asked to join, basic members to become premium", async () => {
  const b = await bench();
  b.hear(welcome({ you: { ...welcome().you, role: "guest" } }));
  b.controller.askPrivate();
  assert.equal(b.controller.local.dialog.kind, "join");
  b.hear(welcome({ you: { ...welcome().you, premium: false } }));
  b.controller.askPrivate({ cam2cam: true });
  assert.equal(b.controller.local.dialog.kind, "premium");
});

test("leaving closes media at once, ends the subscriptions, and nothing reopens it", async () => {
  const { controller, types, hear } = await bench();
  const left = controller.leave();
  assert.equal(controller.watcher.phase, "idle");
  hear({ ...entered(), type: "room.entered" }); // still on its way when the visitor left
  assert.equal(controller.watcher.phase, "idle");
  await left;
  await controller.leave();
  assert.equal(types().filter((type) => type === "room.leave").length, 1);
});

test("the size of the picture is told once it is known, when it changed, and to every new connection", async () => {
  const { controller, sent } = await bench();
  const told = () => sent.filter((message) => message.type === "media.viewport");
  assert.deepEqual(told(), []);
  controller.viewport(640, 360);
  controller.viewport(640, 360);
  assert.deepEqual(told(), [{ type: "media.viewport", feed: "stream", width: 640, height: 360 }]);
  controller.viewport(1280, 720);
  assert.equal(told().length, 2);
  controller.watcher.renew();
  await settle();
  assert.deepEqual(told()[2], { type: "media.viewport", feed: "stream", width: 1280, height: 720 });
});
