// The lines of the wallet's history as pages of it come in. Knows no DOM.

/**
 * @typedef {{ session: string, expert: string, started_at_ms: number, ended_at_ms?: number, total_units: number,
 *   lines: import("../ui/session-lines.js").Line[], refund?: import("./wallet-refund.js").Standing }} PrivateLine
 * @typedef {{ id: number, at_ms: number, kind: string, units: number, expert?: string,
 *   private?: PrivateLine }} Movement
 * @typedef {{ items: Movement[], next: number | null }} Page newest first
 */

/**
 * The newest page again: what was unfolded below it stays.
 * @param {Page | null} known
 * @param {Page} page
 * @returns {Page}
 */
export function withNewest(known, page) {
  const last = page.items.at(-1);
  if (known === null || last === undefined || page.next === null) return page;
  const older = known.items.filter((item) => item.id < last.id && !isIn(page.items, item));
  // Something may lie between the two that is in neither: then the page alone is true.
  const meets = known.items.some((item) => item.id >= last.id);
  return older.length > 0 && meets ? { items: [...page.items, ...older], next: known.next } : page;
}

/**
 * An older page below what is there.
 * @param {Page} known
 * @param {Page} page
 * @returns {Page}
 */
export function withOlder(known, page) {
  const fresh = page.items.filter((item) => !isIn(known.items, item));
  return { items: [...known.items, ...fresh], next: page.next };
}

/**
 * Whether the line is among others; a session's line moves up as it goes on, under another id.
 * @param {Movement[]} items
 * @param {Movement} item
 */
function isIn(items, item) {
  return items.some(
    (other) =>
      other.id === item.id ||
      (item.kind === "session" && other.kind === "session" && other.private?.session === item.private?.session),
  );
}
