// The WebSocket client against a fake socket and a fake clock.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SUBPROTOCOL, Wire, WireError } from "../../clients/web/js/wire.js";
import { welcome } from "./fixtures.mjs";

/** A wire, the sockets it opened, and timers that run when told. */
function bench(options = {}) {
  const sockets = [];
  const timers = new Map();
  let lastTimer = 0;
  class FakeSocket {
    constructor(url, protocol) {
      Object.assign(this, { url, protocol, sent: [], closed: null });
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close(code) {
      this.closed = code ?? 1000;
    }
    open() {
      this.onopen();
    }
    say(message) {
      this.onmessage({ data: JSON.stringify(message) });
    }
    drop(code = 1006) {
      this.onclose?.({ code });
    }
  }
  let tickets = 0;
  const wire = new Wire({
    url: "ws://here/ws",
    ticket: async () => `ticket-${(tickets += 1)}`,
    language: "en",
    socketClass: FakeSocket,
    random: () => 1,
    setTimer(run, delayMs) {
      lastTimer += 1;
      timers.set(lastTimer, { run, delayMs });
      return lastTimer;
    },
    clearTimer: (id) => timers.delete(id),
    ...options,
  });
  const got = [];
  const links = [];
  wire.on((message) => got.push(message));
  wire.onLink((link) => links.push(link));
  return {
    wire,
    sockets,
    got,
    links,
    delays: () => [...timers.values()].map((timer) => timer.delayMs),
    async elapse() {
      const due = [...timers];
      timers.clear();
      for (const [, timer] of due) timer.run();
      await settle();
    },
    last: () => sockets[sockets.length - 1],
  };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

async function connected(options) {
  const b = bench(options);
  b.wire.start();
  await settle();
  b.last().open();
  b.last().say(welcome());
  return b;
}

test("says hello with a ticket on the right sub-protocol", async () => {
  const b = await connected();
  assert.equal(b.last().protocol, SUBPROTOCOL);
  assert.deepEqual(b.last().sent, [{ type: "hello", ticket: "ticket-1", language: "en" }]);
  assert.deepEqual(b.links, ["connecting", "open"]);
});

test("a ticket that never comes is given up, and a later one is taken", async () => {
  const tickets = [];
  const b = bench({ ticket: () => new Promise((resolve) => tickets.push(resolve)) });
  b.wire.start();
  await settle();
  await b.elapse(); // nothing came
  await b.elapse(); // the pause before the next try
  assert.equal(tickets.length, 2);
  tickets[0]("too-late");
  await settle();
  assert.equal(b.sockets.length, 0);
  tickets[1]("in-time");
  await settle();
  b.last().open();
  b.last().say(welcome());
  assert.equal(b.last().sent[0].ticket, "in-time");
  assert.equal(b.wire.state, "open");
  assert.deepEqual(b.delays(), []);
});

test("a listener of the welcome can already send", async () => {
  const b = bench();
  b.wire.on((message) => {
    if (message.type === "welcome") assert.ok(b.wire.send({ type: "room.leave" }));
  });
  b.wire.start();
  await settle();
  b.last().open();
  b.last().say(welcome());
  assert.equal(b.last().sent[1].type, "room.leave");
});

test("answers go to whoever asked, and to the listeners too", async () => {
  const b = await connected();
  const reply = b.wire.request({ type: "room.enter", expert: "luna" });
  const { id } = b.last().sent[1];
  b.last().say({ type: "ack", id, seq: 2 });
  assert.equal((await reply).type, "ack");
  assert.deepEqual(b.got.map((m) => m.type), ["welcome", "ack"]);
});

test("an error with an id rejects with its code and data", async () => {
  const b = await connected();
  const reply = b.wire.request({ type: "chat.send", text: "x" });
  b.last().say({ type: "error", id: b.last().sent[1].id, seq: 2, code: "busy", message: "Busy.", data: { limit: 3 } });
  await assert.rejects(reply, (error) => error instanceof WireError && error.code === "busy" && error.data.limit === 3);
});

test("what waits when the link breaks is told so", async () => {
  const b = await connected();
  const reply = b.wire.request({ type: "room.leave" });
  b.last().drop();
  await assert.rejects(reply, { code: "link_lost" });
  await assert.rejects(b.wire.request({ type: "room.leave" }), { code: "link_lost" });
});

test("on another network the first tickets are waited for less: old connections may be dead", async () => {
  let dead = false;
  const b = await connected({
    ticket: () => (dead ? new Promise(() => {}) : Promise.resolve("ticket")),
  });
  assert.deepEqual(b.delays(), []);
  dead = true;
  b.wire.reconnect();
  const waits = [];
  for (let tries = 0; tries < 4; tries += 1) {
    await settle();
    waits.push(...b.delays());
    await b.elapse(); // no ticket
    await b.elapse(); // the pause before the next try
  }
  assert.deepEqual(waits, [1_500, 1_500, 1_500, 5_000]);
});

test("comes back with the resume token and a new ticket", async () => {
  const b = await connected();
  b.last().drop();
  assert.equal(b.wire.state, "lost");
  await b.elapse();
  assert.equal(b.sockets.length, 2);
  b.last().open();
  assert.deepEqual(b.last().sent[0], { type: "hello", ticket: "ticket-2", language: "en", resume: "token-1" });
  b.last().say(welcome({ resumed: true, resume: "token-2" }));
  assert.equal(b.wire.state, "open");
  assert.equal(b.wire.resume, "token-2");
});

test("pauses grow, with jitter, up to a bound that the grace allows for", async () => {
  const b = await connected();
  const delays = [];
  for (let i = 0; i < 7; i += 1) {
    b.last().drop();
    delays.push(b.delays()[0]);
    await b.elapse();
  }
  assert.deepEqual(delays, [400, 800, 1600, 3200, 5000, 5000, 5000]);
  const low = await connected({ random: () => 0 });
  low.last().drop();
  assert.deepEqual(low.delays(), [200]);
});

test("a gap in the numbering makes a fresh connection", async () => {
  const b = await connected();
  b.last().say({ type: "ack", id: 1, seq: 3 });
  assert.equal(b.sockets[0].closed, 4000);
  assert.equal(b.wire.state, "lost");
  await b.elapse();
  assert.equal(b.sockets.length, 2);
});

test("a connection that was taken over stays closed", async () => {
  const b = await connected();
  b.last().drop(4409);
  assert.equal(b.wire.state, "closed");
  assert.equal(b.wire.closeCode, 4409);
  await b.elapse();
  assert.equal(b.sockets.length, 1);
});

test("a refused ticket is tried again once, without the resume token", async () => {
  const b = await connected();
  b.last().drop(4401);
  await b.elapse();
  b.last().open();
  assert.equal(b.last().sent[0].resume, undefined);
  b.last().drop(4401);
  assert.equal(b.wire.state, "closed");
});

test("a flooded server is left alone for longer", async () => {
  const b = await connected();
  b.last().drop(4429);
  assert.ok(b.delays()[0] >= 10_000);
});

test("a socket that never opens is given up", async () => {
  const b = bench();
  b.wire.start();
  await settle();
  assert.deepEqual(b.delays(), [8_000]);
  await b.elapse();
  assert.equal(b.wire.state, "lost");
});

test("without a ticket it tries again", async () => {
  let fail = true;
  const b = bench({
    ticket: async () => {
      if (fail) throw new Error("offline");
      return "t";
    },
  });
  b.wire.start();
  await settle();
  assert.equal(b.wire.state, "lost");
  fail = false;
  await b.elapse();
  assert.equal(b.sockets.length, 1);
});

test("late words of an abandoned socket are not heard", async () => {
  const b = await connected();
  const old = b.last();
  const late = old.onmessage;
  b.wire.reconnect();
  await settle();
  late?.({ data: JSON.stringify({ type: "ack", id: 9, seq: 2 }) });
  assert.deepEqual(b.got.map((m) => m.type), ["welcome"]);
  assert.equal(b.sockets.length, 2);
});

test("an unanswered request ends, and so does the link that only looked alive", async () => {
  const b = await connected();
  const ended = assert.rejects(b.wire.request({ type: "room.leave" }), { code: "timeout" });
  await b.elapse();
  await ended;
  assert.equal(b.sockets.length, 2);
  assert.equal(b.sockets[0].closed, 1000);
});

test("stopped is stopped", async () => {
  const b = await connected();
  b.wire.stop();
  assert.equal(b.wire.state, "closed");
  assert.deepEqual(b.delays(), []);
});
