// The HTTP side of the public API: JSON in, JSON or a typed error out.

import { has, t } from "./i18n.js";

const BASE = "/api/v1";
/** A request that takes longer than this has failed as far as the visitor can tell. */
const TIMEOUT_MS = 20_000;

/** A refusal by the server (problem+json), or `code: "network"` when no answer came. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 when no answer came
   * @param {string} code stable, for programs
   * @param {string} detail English, for logs
   * @param {Record<string, unknown>} [data] the other members of the problem document
   * @param {number | null} [retryAfterS]
   */
  constructor(status, code, detail, data = {}, retryAfterS = null) {
    super(detail || code);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.data = data;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * What to tell a person about an error: by its code, else by its status, else in general.
 * @param {unknown} error
 */
export function errorText(error) {
  if (!(error instanceof ApiError)) return t("error.unknown");
  const key = `error.${error.code}`;
  if (error.status === 429) {
    return error.retryAfterS === null
      ? t("error.rate_limited")
      : t("error.rate_limited_s", { seconds: error.retryAfterS });
  }
  if (has(key)) return t(key);
  return error.status >= 500 ? t("error.server") : t("error.unknown");
}

/** A random key for `Idempotency-Key`; works without a secure context too. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Response} response */
async function refusal(response) {
  /** @type {Record<string, unknown>} */
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy's HTML page or an empty body: the status says enough.
  }
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new ApiError(
    response.status,
    typeof problem.code === "string" ? problem.code : `http_${response.status}`,
    typeof problem.detail === "string" ? problem.detail : "",
    problem,
    Number.isFinite(retryAfter) ? retryAfter : null,
  );
}

/**
 * @param {string} method
 * @param {string} path below `/api/v1`
 * @param {unknown} [body]
 * @param {{ idempotencyKey?: string }} [options]
 * @returns {Promise<any>} the JSON body, or null for 204
 */
export async function request(method, path, body, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Content-Type"] = "application/json";
  if (options.idempotencyKey) headers["Idempotency-Key"] = options.idempotencyKey;
  let response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new ApiError(0, "network", String(error));
  }
  if (!response.ok) throw await refusal(response);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    throw new ApiError(0, "network", String(error));
  }
}

export const get = (/** @type {string} */ path) => request("GET", path);
/**
 * @param {string} path
 * @param {unknown} [body]
 * @param {{ idempotencyKey?: string }} [options]
 */
export const post = (path, body, options) => request("POST", path, body, options);
/**
 * @param {string} path
 * @param {unknown} body
 */
export const put = (path, body) => request("PUT", path, body);

/** A one-time ticket for the WebSocket's `hello`. */
export async function wsTicket() {
  const answer = await post("/ws-ticket");
  return /** @type {string} */ (answer.ticket);
}
