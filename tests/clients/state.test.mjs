// The reducer: what each server message changes, and what it must not change.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CHAT_LINES_MAX, INITIAL, inPrivate, reduce } from "../../clients/web/js/state.js";
import { card, entered, hud, line, session, summary, welcome, you } from "./fixtures.mjs";

const run = (...messages) => messages.reduce(reduce, INITIAL);
const state = (change) => ({ type: "private.state", session: session(change) });

test("a message never changes the state it is given", () => {
  const frozen = Object.freeze(run(welcome(), entered()));
  for (const message of [hud(), state({ phase: "active" }), summary(), { type: "room.left", reason: "left" }]) {
    reduce(frozen, message);
  }
  assert.equal(frozen.session, null);
});

test("entering gives the room, its chat and a running session", () => {
  const after = run(welcome(), entered({ chat: [line(4)], session: session({ phase: "active" }) }));
  assert.equal(after.room.expert.name, "luna");
  assert.deepEqual(after.chat.map((l) => l.n), [4]);
  assert.equal(after.session.phase, "active");
  assert.ok(inPrivate(after));
});

test("chat grows by number, never twice, and is bounded", () => {
  let after = run(entered({ chat: [line(1), line(2)] }));
  after = reduce(after, { type: "chat.message", line: line(2) });
  assert.equal(after.chat.length, 2);
  for (let n = 3; n < CHAT_LINES_MAX + 50; n += 1) {
    after = reduce(after, { type: "chat.message", line: line(n) });
  }
  assert.equal(after.chat.length, CHAT_LINES_MAX);
  assert.equal(after.chat.at(-1).n, CHAT_LINES_MAX + 49);
});

test("a session from ringing to its summary", () => {
  let after = run(welcome(), entered(), state());
  assert.equal(after.session.phase, "ringing");
  assert.ok(!inPrivate(after));
  after = [state({ phase: "connecting" }), state({ phase: "active" }), hud()].reduce(reduce, after);
  assert.equal(after.hud.cost_units, 897);
  after = reduce(after, { type: "private.low_balance", session: "s1", seconds_left: 60, cause: "limit_day" });
  assert.equal(after.lowBalanceS, 60);
  after = [state({ phase: "ending" }), summary(), state({ phase: "ended", reason: "member_left" })].reduce(reduce, after);
  assert.equal(after.session, null);
  assert.equal(after.hud, null);
  assert.equal(after.lowBalanceS, null);
  assert.equal(after.summary.total_units, 897);
  assert.equal(after.unstarted, null);
});

test("the summary may come after the end", () => {
  const after = run(entered(), state({ phase: "active" }), hud(), state({ phase: "ended", reason: "balance_empty" }), summary());
  assert.equal(after.summary.session, "s1");
  assert.equal(after.unstarted, null);
});

for (const reason of ["declined", "ring_timeout", "cancelled", "connect_failed"]) {
  test(`a request that ended as ${reason} is told without a summary`, () => {
    const after = run(entered(), state(), state({ phase: "ended", reason }));
    assert.equal(after.unstarted.reason, reason);
    assert.equal(after.session, null);
  });
}

test("a top-up takes the low-balance warning away", () => {
  let after = run(entered(), state({ phase: "active" }), { type: "private.low_balance", session: "s1", seconds_left: 30, cause: "balance_empty" });
  after = reduce(after, hud({ time_left_s: 29 }));
  assert.equal(after.lowBalanceS, 30);
  after = reduce(after, hud({ time_left_s: 600 }));
  assert.equal(after.lowBalanceS, null);
});

test("figures of another session are not shown", () => {
  const after = run(entered(), state({ phase: "active" }), hud({ session: "old" }));
  assert.equal(after.hud, null);
});

test("the request card goes when its session is accepted or ends", () => {
  const incoming = { type: "private.incoming", session: session(), member_rank: "gold", balance_band: "over_10_min", rate_units_per_s: 299 };
  const ringing = run(entered({ you_host: true }), incoming);
  assert.equal(ringing.incoming.member_rank, "gold");
  assert.equal(reduce(ringing, state({ phase: "connecting" })).incoming, null);
  assert.equal(reduce(ringing, state({ phase: "ended", reason: "cancelled" })).incoming, null);
});

test("a resumed place keeps everything; a lost one keeps only what it looks like", () => {
  const before = run(welcome(), entered(), state({ phase: "active" }), hud());
  assert.equal(reduce(before, welcome({ resumed: true })).hud.cost_units, 897);
  const fresh = reduce(before, welcome());
  assert.equal(fresh.session, null);
  assert.equal(fresh.hud, null);
  assert.equal(fresh.room.expert.name, "luna");
});

test("presence is patched in place", () => {
  const list = { type: "presence.list", experts: [card(), card({ name: "sol" })] };
  const after = run(list, { type: "presence.changed", expert: card({ state: "in_private" }) });
  assert.deepEqual(after.experts.map((e) => [e.name, e.state]), [["luna", "in_private"], ["sol", "live_free"]]);
});

test("an expert who is gone is on the list no more", () => {
  const list = { type: "presence.list", seq: 1, experts: [card({ name: "luna" }), card({ name: "orion" })] };
  const after = run(list, { type: "presence.gone", seq: 2, name: "luna" });
  assert.deepEqual(after.experts.map(({ name }) => name), ["orion"]);
});

test("quality is kept per feed and direction, and goes with the feed", () => {
  const quality = { type: "media.quality", feed: "stream", direction: "watch", level: "poor", reason: "loss" };
  const after = run(entered(), quality);
  assert.equal(after.quality["stream:watch"].level, "poor");
  const stopped = reduce(after, { type: "media.stopped", feed: "stream", direction: "watch", reason: "offline" });
  assert.equal(stopped.quality["stream:watch"], undefined);
});

test("balance, upgrade, wall, draining and leaving", () => {
  const balance = { paid_units: 1, promo_units: 0, held_units: 0, available_units: 1 };
  const after = run(
    welcome({ you: you({ premium: false }) }),
    entered(),
    { type: "wallet.balance", balance },
    { type: "account.upgraded", you: you() },
    { type: "room.state", expert: card({ state: "in_private" }), wall: "private" },
    { type: "server.draining", seconds: 5 },
  );
  assert.equal(after.balance.available_units, 1);
  assert.equal(after.you.premium, true);
  assert.equal(after.room.wall, "private");
  assert.equal(after.drainingS, 5);
  const left = reduce(after, { type: "room.left", reason: "kicked" });
  assert.equal(left.room, null);
  assert.equal(left.roomLeft, "kicked");
});

test("a message of a newer server changes nothing", () => {
  const before = run(entered());
  assert.equal(reduce(before, { type: "group.started" }), before);
});

test("figures stand until one looks away or leaves", () => {
  const connection = { feed: "stream", direction: "watch", streams: [] };
  const shown = reduce(INITIAL, { type: "figures", seq: 1, connections: [connection] });
  assert.deepEqual(shown.figures, [connection]);
  assert.equal(reduce(shown, { type: "local.look_away" }).figures, null);
  assert.equal(reduce(shown, { type: "room.left", seq: 2, reason: "closed" }).figures, null);
});

test("quality of the other end is kept apart, and goes with what it was of", () => {
  const quality = (feed, direction, far) => ({ type: "media.quality", feed, direction, far, level: "poor", reason: "loss" });
  const room = run(entered(), quality("stream", "watch"), quality("stream", "publish", true));
  assert.deepEqual(Object.keys(room.quality), ["stream:watch", "far:stream:publish"]);
  const walled = reduce(room, { type: "room.state", expert: card(), wall: "private" });
  assert.deepEqual(Object.keys(walled.quality), ["stream:watch"], "behind a wall nobody tells how it goes on");
  const stopped = reduce(room, { type: "media.stopped", feed: "stream", direction: "watch", reason: "offline" });
  assert.deepEqual(stopped.quality, {});

  const both = run(
    entered(),
    state({ phase: "active" }),
    ...[["stream", "watch"], ["stream", "publish", true], ["private", "publish"], ["private", "watch", true], ["stream", "watch", true]].map((way) => quality(...way)),
  );
  assert.equal(Object.keys(both.quality).length, 5);
  for (const end of [state({ phase: "ended", reason: "member_left" }), summary()]) {
    assert.deepEqual(Object.keys(reduce(both, end).quality), ["stream:watch", "far:stream:publish"]);
  }
});
