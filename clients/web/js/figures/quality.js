// How good the connection is, of the two ends of a room: what the server says, made into one word.

/**
 * @typedef {import("../../wire.js").QualityLevel} QualityLevel
 * @typedef {{ level: QualityLevel, reason: string }} Judged
 * @typedef {Judged & { whose: "own" | "other" }} Quality
 */

/** @type {QualityLevel[]} */
const FROM_BEST = ["unknown", "good", "fair", "poor"];

/** Keys of `State.quality` that are of the other person's end. */
const FAR = "far:";

/** @param {Judged} a @param {Judged} b */
function worse(a, b) {
  return FROM_BEST.indexOf(b.level) > FROM_BEST.indexOf(a.level) ? b : a;
}

/**
 * The worse of the two ends; one's own when they are alike, since that is what one can change.
 * @param {import("../state.js").State} server
 * @returns {Quality}
 */
export function qualityOf(server) {
  const { session } = server;
  // While the member sends nothing there is no way of theirs to speak of.
  const memberSends = session !== null && (session.cam2cam || session.two_way_audio);
  /** @type {Judged} */
  let own = { level: "unknown", reason: "no_report" };
  /** @type {Judged} */
  let other = own;
  for (const [key, judged] of Object.entries(server.quality)) {
    const far = key.startsWith(FAR);
    if (key.slice(far ? FAR.length : 0).startsWith("private:") && !memberSends) continue;
    if (far) other = worse(other, judged);
    else own = worse(own, judged);
  }
  const shown = worse(own, other);
  return { ...shown, whose: shown === own ? "own" : "other" };
}
