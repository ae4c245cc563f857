// Which experts are shown and in what order. Pure; knows no DOM.

/**
 * @typedef {{ private: number, cam2cam: number, two_way_audio: number }} Prices
 * @typedef {{ name: string, display_name: string, headline: string, categories: string[],
 *   languages: string[], state: string, notice: string | null, has_sound: boolean,
 *   cam2cam: boolean, two_way_audio: boolean, prices: Prices, viewers: number }} Expert
 * @typedef {{ category: string, language: string, live: boolean, cam2cam: boolean,
 *   two_way_audio: boolean, sort: string }} Filter
 */

export const SORTS = ["recommended", "price", "name"];

/** @type {Filter} */
export const NO_FILTER = {
  category: "",
  language: "",
  live: false,
  cam2cam: false,
  two_way_audio: false,
  sort: "recommended",
};

/** Those one can watch now come first, then the busy, then the absent. */
/** @type {Record<string, number>} */
const STATE_ORDER = {
  live_free: 0,
  group_pre: 0,
  group_live: 0,
  ringing: 1,
  entering_private: 1,
  in_private: 1,
  going_offline: 2,
  offline: 3,
};

/** @param {string} state */
function stateOrder(state) {
  return STATE_ORDER[state] ?? STATE_ORDER.offline;
}

/**
 * @param {Expert} expert
 * @param {Filter} filter
 */
export function matches(expert, filter) {
  return (
    (!filter.category || expert.categories.includes(filter.category)) &&
    (!filter.language || expert.languages.includes(filter.language)) &&
    (!filter.live || expert.state !== "offline") &&
    (!filter.cam2cam || expert.cam2cam) &&
    (!filter.two_way_audio || expert.two_way_audio)
  );
}

/**
 * The names in the order to show them; live experts come first whatever the sort.
 * @param {Iterable<Expert>} experts
 * @param {string} sort
 * @returns {string[]}
 */
export function orderOf(experts, sort) {
  const byName = (/** @type {Expert} */ a, /** @type {Expert} */ b) =>
    a.display_name.localeCompare(b.display_name);
  const second = {
    price: (/** @type {Expert} */ a, /** @type {Expert} */ b) => a.prices.private - b.prices.private,
    name: () => 0,
  }[sort] ?? ((/** @type {Expert} */ a, /** @type {Expert} */ b) => b.viewers - a.viewers);
  return [...experts]
    .sort((a, b) => stateOrder(a.state) - stateOrder(b.state) || second(a, b) || byName(a, b))
    .map((expert) => expert.name);
}

/**
 * Keep an order that somebody looks at: known names stay where they are, new ones come last.
 * @param {string[]} shown
 * @param {string[]} wanted
 */
export function keepOrder(shown, wanted) {
  const there = new Set(wanted);
  const kept = shown.filter((name) => there.has(name));
  const known = new Set(kept);
  return [...kept, ...wanted.filter((name) => !known.has(name))];
}

/**
 * Every value that occurs, sorted.
 * @param {Iterable<Expert>} experts
 * @param {"categories" | "languages"} field
 */
export function valuesOf(experts, field) {
  return [...new Set([...experts].flatMap((expert) => expert[field]))].sort();
}

/**
 * @param {URLSearchParams} query
 * @returns {Filter}
 */
export function filterFromQuery(query) {
  const sort = query.get("sort") ?? "";
  return {
    category: query.get("category") ?? "",
    language: query.get("language") ?? "",
    live: query.has("live"),
    cam2cam: query.has("cam2cam"),
    two_way_audio: query.has("two_way_audio"),
    sort: SORTS.includes(sort) ? sort : NO_FILTER.sort,
  };
}

/**
 * @param {Filter} filter
 * @returns {string} with the question mark, or "" for none
 */
export function queryFromFilter(filter) {
  const query = new URLSearchParams();
  if (filter.category) query.set("category", filter.category);
  if (filter.language) query.set("language", filter.language);
  for (const name of /** @type {const} */ (["live", "cam2cam", "two_way_audio"])) {
    if (filter[name]) query.set(name, "1");
  }
  if (filter.sort !== NO_FILTER.sort) query.set("sort", filter.sort);
  const text = query.toString();
  return text ? `?${text}` : "";
}
