// The HTTP client: what is sent, and what a refusal or a lost connection becomes.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { ApiError, errorText, get, newKey, post } from "../../../clients/web/js/api.js";
import { addCatalog } from "../../../clients/web/js/i18n.js";

addCatalog("en", {
  "error.username_taken": "taken",
  "error.server": "server",
  "error.unknown": "unknown",
  "error.network": "network",
  "error.rate_limited": "wait",
  "error.rate_limited_s": "wait {seconds}",
});

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

/** @param {(path: string, options: any) => Response | Promise<Response>} answer */
function answerWith(answer) {
  globalThis.fetch = async (path, options) => answer(String(path), options);
}

/** @param {() => Promise<unknown>} call @returns {Promise<ApiError>} */
async function refused(call) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof ApiError);
    return error;
  }
  throw new assert.AssertionError({ message: "it was not refused" });
}

test("JSON goes out with its key and comes in", async () => {
  answerWith((path, options) => {
    assert.equal(path, "/api/v1/orders");
    assert.equal(options.method, "POST");
    assert.equal(options.headers["Content-Type"], "application/json");
    assert.equal(options.headers["Idempotency-Key"], "k1");
    assert.deepEqual(JSON.parse(options.body), { package: "p" });
    return Response.json({ order: 1 });
  });
  assert.deepEqual(await post("/orders", { package: "p" }, { idempotencyKey: "k1" }), { order: 1 });
});

test("204 is null; a GET has no body", async () => {
  answerWith((_, options) => {
    assert.equal(options.body, undefined);
    return new Response(null, { status: 204 });
  });
  assert.equal(await get("/x"), null);
});

test("a problem document becomes an error with its code and members", async () => {
  answerWith(() => Response.json({ code: "username_taken", detail: "d", limit: 3 }, { status: 409 }));
  const error = await refused(() => post("/accounts"));
  assert.deepEqual([error.status, error.code, error.data.limit], [409, "username_taken", 3]);
  assert.equal(errorText(error), "taken");
});

test("rate limits say how long to wait", async () => {
  answerWith(() => Response.json({ code: "rate_limited" }, { status: 429, headers: { "Retry-After": "42" } }));
  assert.equal(errorText(await refused(() => post("/login"))), "wait 42");
  answerWith(() => Response.json({ code: "rate_limited" }, { status: 429 }));
  assert.equal(errorText(await refused(() => post("/login"))), "wait");
});

test("a page instead of JSON, no answer, half an answer", async () => {
  answerWith(() => new Response("<h1>Bad gateway</h1>", { status: 502 }));
  assert.equal(errorText(await refused(() => get("/x"))), "server");
  answerWith(() => {
    throw new TypeError("failed to fetch");
  });
  assert.equal(errorText(await refused(() => get("/x"))), "network");
  answerWith(() => new Response('{"half":', { status: 200 }));
  assert.equal((await refused(() => get("/x"))).code, "network");
  assert.equal(errorText(new Error("bug")), "unknown");
});

test("keys are random and long", () => {
  assert.match(newKey(), /^[0-9a-f]{32}$/);
  assert.notEqual(newKey(), newKey());
});
