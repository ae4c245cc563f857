// How a payout's state looks, to its expert and to staff: their words differ, its colour does not.

/**
 * @param {string} state
 * @returns {"live" | "warn" | "neutral"} the kind of its badge
 */
export function payoutBadge(state) {
  if (state === "paid") return "live";
  return ["failed", "denied", "returned"].includes(state) ? "warn" : "neutral";
}
