// Which clicks stay in the document, and what Back does.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

/** @type {Record<string, (event: any) => void>} */
let listeners = {};
/** @type {string[]} */
let did = [];
let path = "/";

globalThis.location = /** @type {any} */ ({
  origin: "http://here",
  search: "",
  get pathname() {
    return path;
  },
  assign: (/** @type {string} */ to) => did.push(`load ${to}`),
  reload: () => did.push("reload"),
});
/** @type {any} */
let kept = null;
globalThis.history = /** @type {any} */ ({
  replaceState: (/** @type {any} */ state) => (kept = state),
  pushState(/** @type {any} */ _, /** @type {string} */ __, /** @type {string} */ to) {
    path = to;
    did.push(`push ${to}`);
  },
});
/** How far the page can be scrolled. */
let longest = 0;
globalThis.scrollY = 0;
const settle = () => new Promise((resolve) => setImmediate(resolve));
globalThis.scrollTo = /** @type {any} */ ((/** @type {number} */ _, /** @type {number} */ top) => {
  globalThis.scrollY = Math.min(top, longest);
});
/** @type {(() => void)[]} */
let frames = [];
globalThis.requestAnimationFrame = /** @type {any} */ ((/** @type {() => void} */ run) => frames.push(run));
const listen = (/** @type {string} */ name, /** @type {any} */ run) => (listeners[name] = run);
globalThis.addEventListener = /** @type {any} */ (listen);
globalThis.document = /** @type {any} */ ({ addEventListener: listen });

const { followLinks, placeOf } = await import("../../../clients/web/js/navigate.js");

beforeEach(() => {
  listeners = {};
  did = [];
  path = "/";
  kept = null;
  frames = [];
  longest = 5_000;
  globalThis.scrollY = 0;
});

function start({ stays = true } = {}) {
  return followLinks({
    show: async ({ page, expert }) => void did.push(`show ${page} ${expert}`.trim()),
    mayStay: () => stays,
  });
}

/** A click on a link; `link` and `event` say what is unusual about it. */
function click(to, link = {}, event = {}) {
  const url = new URL(to, "http://here");
  const attributes = link.attributes ?? [];
  const target = {
    closest: () => ({
      origin: url.origin,
      pathname: url.pathname,
      search: url.search,
      hash: url.hash,
      hasAttribute: (/** @type {string} */ name) => attributes.includes(name),
    }),
  };
  const base = { defaultPrevented: false, button: 0, target, preventDefault: () => did.push("kept") };
  listeners.click({ ...base, ...event });
}

test("paths of rooms and the home page are places, others are documents", () => {
  assert.deepEqual(placeOf("/"), { page: "home", expert: "" });
  assert.deepEqual(placeOf("/room/luna"), { page: "room", expert: "luna" });
  assert.deepEqual(placeOf("/room/l%C3%B8na/"), { page: "room", expert: "løna" });
  for (const other of ["/wallet", "/room/", "/room/a/b", "/room/%", "/studio"]) {
    assert.equal(placeOf(other), null, other);
  }
});

test("a plain click on a card shows the room in the same document", () => {
  start();
  click("/room/luna");
  assert.deepEqual(did, ["kept", "push /room/luna", "show room luna"]);
});

test("a click that means something else is left to the browser", () => {
  start();
  click("/room/luna", {}, { ctrlKey: true });
  click("/room/luna", {}, { metaKey: true });
  click("/room/luna", {}, { shiftKey: true });
  click("/room/luna", {}, { button: 1 });
  click("/room/luna", {}, { defaultPrevented: true });
  click("/room/luna", { attributes: ["target"] });
  click("/room/luna", { attributes: ["download"] });
  click("http://elsewhere/room/luna");
  click("/?lang=nb");
  click("/#main");
  click("/wallet");
  listeners.click({ defaultPrevented: false, button: 0, target: { closest: () => null } });
  assert.deepEqual(did, []);
});

test("Back and Forward show what the address bar says", () => {
  start();
  click("/room/luna");
  path = "/";
  listeners.popstate({});
  path = "/room/luna";
  listeners.popstate({});
  assert.deepEqual(did.slice(3), ["show home", "show room luna"]);
});

test("a jump within the page is no navigation", () => {
  start();
  listeners.popstate({});
  assert.deepEqual(did, []);
});

test("what must not end by mistake is left by a load, which asks first", () => {
  const go = start({ stays: false });
  click("/room/luna");
  go("/room/mara");
  assert.deepEqual(did, ["kept", "load /room/luna", "load /room/mara"]);
});

test("Back out of a session puts the address back before the browser asks", () => {
  let stays = true;
  followLinks({ show: async () => {}, mayStay: () => stays });
  click("/room/luna");
  stays = false;
  path = "/";
  listeners.popstate({});
  assert.deepEqual(did, ["kept", "push /room/luna", "push /room/luna", "load /"]);
  assert.equal(path, "/room/luna");
});

test("a room that cannot be shown here is loaded instead", async () => {
  const { error } = console;
  console.error = () => {};
  try {
    followLinks({ show: () => Promise.reject(new Error("a new version")), mayStay: () => true });
    click("/room/luna");
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    console.error = error;
  }
  assert.deepEqual(did, ["kept", "push /room/luna", "reload"]);
});

test("Back returns to where the reader was, once the page is long enough again", async () => {
  start();
  globalThis.scrollY = 1_234;
  click("/room/luna");
  assert.deepEqual(kept, { top: 1_234 });
  assert.equal(globalThis.scrollY, 0, "a new page begins at its top");
  longest = 300;
  path = "/";
  listeners.popstate({ state: kept });
  await settle();
  assert.equal(globalThis.scrollY, 300, "as far as it goes");
  longest = 5_000;
  frames.shift()?.();
  assert.equal(globalThis.scrollY, 1_234);
  assert.deepEqual(frames, [], "and then it is the reader's");
});

test("who goes on meanwhile is not scrolled", async () => {
  start();
  longest = 0;
  path = "/room/luna";
  listeners.popstate({ state: { top: 500 } });
  await settle();
  longest = 5_000;
  click("/");
  await settle();
  frames.shift()?.();
  assert.equal(globalThis.scrollY, 0);
  path = "/room/luna";
  listeners.popstate({ state: null });
  await settle();
  assert.equal(globalThis.scrollY, 0);
});
