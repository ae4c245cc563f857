// What the pages decide without a browser: the grid's order, where to go next, which browser this is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { faults } from "../../../clients/web/js/pages/account-rules.js";
import { browserOf } from "../../../clients/web/js/pages/browsers.js";
import {
  filterFromQuery,
  keepOrder,
  matches,
  NO_FILTER,
  orderOf,
  queryFromFilter,
  valuesOf,
} from "../../../clients/web/js/pages/grid.js";
import { safeNext } from "../../../clients/web/js/pages/next.js";
import { card } from "../fixtures.mjs";

/** @param {string} name */
const expert = (name, change = {}) => card({ name, display_name: name, headline: "", viewers: 0, ...change });

test("live experts come first in every sort, then busy, then absent", () => {
  const all = [
    expert("a", { state: "offline", viewers: 9, prices: { private: 1 } }),
    expert("b", { state: "in_private" }),
    expert("c", { viewers: 1 }),
    expert("d", { viewers: 5, prices: { private: 500 } }),
    expert("e", { state: "unheard_of" }),
  ];
  assert.deepEqual(orderOf(all, "recommended"), ["d", "c", "b", "a", "e"]);
  assert.deepEqual(orderOf(all, "price"), ["c", "d", "b", "a", "e"]);
  assert.deepEqual(orderOf(all, "name"), ["c", "d", "b", "a", "e"]);
});

test("an order somebody looks at stays; new names come last, gone ones go", () => {
  assert.deepEqual(keepOrder(["b", "a", "x"], ["a", "new", "b"]), ["b", "a", "new"]);
  assert.deepEqual(keepOrder([], ["a"]), ["a"]);
});

test("filters", () => {
  const one = expert("a", { cam2cam: false, state: "in_private" });
  assert.ok(matches(one, NO_FILTER));
  assert.ok(matches(one, { ...NO_FILTER, category: "tarot", language: "en", live: true }));
  assert.ok(!matches(one, { ...NO_FILTER, category: "reiki" }));
  assert.ok(!matches(one, { ...NO_FILTER, language: "nb" }));
  assert.ok(!matches(one, { ...NO_FILTER, cam2cam: true }));
  assert.ok(!matches(expert("b", { state: "offline" }), { ...NO_FILTER, live: true }));
  assert.deepEqual(valuesOf([one, expert("b", { categories: ["reiki", "tarot"] })], "categories"), ["reiki", "tarot"]);
});

test("the address remembers the filter", () => {
  const filter = { ...NO_FILTER, category: "tarot", live: true, sort: "price" };
  assert.deepEqual(filterFromQuery(new URLSearchParams(queryFromFilter(filter))), filter);
  assert.equal(queryFromFilter(NO_FILTER), "");
  assert.equal(filterFromQuery(new URLSearchParams("sort=evil")).sort, "recommended");
});

test("after signing in one stays on this site", () => {
  const origin = "https://parlour.example";
  const next = (/** @type {string} */ to) => safeNext(`?next=${encodeURIComponent(to)}`, origin);
  assert.equal(next("/room/luna?x=1#y"), "/room/luna?x=1#y");
  for (const bad of ["//evil.example", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "room", "", "/\t/evil.example"]) {
    const went = next(bad);
    assert.ok(went === null || new URL(went, origin).origin === origin, bad);
    assert.ok(went === null || !/^\/[/\\]/.test(went), bad);
  }
  assert.equal(safeNext("", origin), null);
});

test("account rules", () => {
  const good = { username: "nora_9", email: "nora@example.com", password: "lamp on a table" };
  assert.deepEqual(faults(good), {});
  assert.deepEqual(Object.keys(faults({ username: "", email: "", password: "" })), ["username", "email", "password"]);
  assert.ok(faults({ ...good, username: "ab" }).username);
  assert.ok(faults({ ...good, username: "-nora" }).username);
  assert.ok(faults({ ...good, username: "nøra" }).username);
  assert.ok(faults({ ...good, email: "nora@host" }).email);
  assert.ok(faults({ ...good, password: "1234567" }).password);
  assert.equal(faults({ ...good, username: "longname1", password: "LongName1" }).password, "account.password_is_name");
});

test("browsers by what they call themselves", () => {
  const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
  assert.equal(browserOf(chrome), "chrome");
  assert.equal(browserOf(`${chrome} Edg/140.0.0.0`), "edge");
  assert.equal(browserOf("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), "firefox");
  const mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15";
  assert.equal(browserOf(mac), "safari");
  assert.equal(browserOf(mac, 5), "iphone");
  assert.equal(browserOf("Mozilla/5.0 (Linux; Android 15; Pixel) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile Safari/537.36"), "android");
  assert.equal(browserOf("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1"), "iphone");
  assert.equal(browserOf(""), "chrome");
});
