// How to reach the media port: TURN servers, and whether to go through them only. Asked for once in a
// while, and ahead of the first call.

import { get } from "./api.js";

/** Their credentials live for hours; a tab may be open for days. */
const FRESH_MS = 300_000;

/** @type {{ configuration: Promise<RTCConfiguration>, askedMs: number } | null} */
let asked = null;

/** @returns {Promise<RTCConfiguration>} never rejects: without TURN most networks still work */
export function iceConfiguration() {
  const nowMs = performance.now();
  if (asked === null || nowMs - asked.askedMs > FRESH_MS) {
    const configuration = get("/ice-servers").then(
      (answer) => ({
        iceServers: answer.ice_servers,
        iceTransportPolicy: answer.ice_transport_policy,
      }),
      () => {
        asked = null; // the next call asks again
        return {};
      },
    );
    asked = { configuration, askedMs: nowMs };
  }
  return asked.configuration;
}
