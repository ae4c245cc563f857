// The wallet's history: pages below each other, and the newest one again while one looks.

import assert from "node:assert/strict";
import { test } from "node:test";

import { withNewest, withOlder } from "../../../clients/web/js/pages/wallet-lines.js";

const line = (/** @type {number} */ id, session = "") => ({
  id,
  at_ms: id,
  kind: session ? "session" : "purchase",
  units: 1,
  ...(session ? { private: /** @type {any} */ ({ session }) } : {}),
});
const ids = (/** @type {any} */ page) => page.items.map((/** @type {any} */ item) => item.id);
const page = (/** @type {any[]} */ items, /** @type {number | null} */ next) => ({ items, next });

test("older lines go below, and what moved up meanwhile is not told twice", () => {
  const known = page([line(9, "a"), line(8)], 8);
  const more = withOlder(known, page([line(7), line(5, "a"), line(4)], null));
  assert.deepEqual(ids(more), [9, 8, 7, 4]);
  assert.equal(more.next, null);
});

test("the newest page again leaves what was unfolded below it", () => {
  const known = page([line(9), line(8), line(7, "a"), line(6), line(5)], 5);
  const now = withNewest(known, page([line(11, "a"), line(10), line(9), line(8)], 8));
  assert.deepEqual(ids(now), [11, 10, 9, 8, 6, 5]);
  assert.equal(now.next, 5);
});

test("with a hole between the two, the new page stands alone", () => {
  const known = page([line(3), line(2)], 2);
  const now = withNewest(known, page([line(11), line(10)], 10));
  assert.deepEqual([ids(now), now.next], [[11, 10], 10]);
});

test("at first, and when everything is on one page, the page is all there is", () => {
  const first = page([line(2), line(1)], null);
  assert.equal(withNewest(null, first), first);
  assert.equal(withNewest(page([line(1)], null), first), first);
  const empty = page([], null);
  assert.equal(withNewest(first, empty), empty);
});
