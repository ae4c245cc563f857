// The TURN servers to use: asked for once in a while, and ahead of the first call.

import { get } from "./api.js";

/** Their credentials live for hours; a tab may be open for days. */
const FRESH_MS = 300_000;

/** @type {{ servers: Promise<RTCIceServer[]>, askedMs: number } | null} */
let asked = null;

/** @returns {Promise<RTCIceServer[]>} never rejects: without TURN most networks still work */
export function iceServers() {
  const nowMs = performance.now();
  if (asked === null || nowMs - asked.askedMs > FRESH_MS) {
    const servers = get("/ice-servers").then(
      (answer) => answer.ice_servers,
      () => {
        asked = null; // the next call asks again
        return [];
      },
    );
    asked = { servers, askedMs: nowMs };
  }
  return asked.servers;
}
