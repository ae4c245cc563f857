// Where to go after signing in: the page that sent the visitor here, if it is one of ours.

/**
 * @param {string} search the query of this page
 * @param {string} origin of this site
 * @returns {string | null} a path, or null when none or a foreign one was given
 */
export function safeNext(search, origin) {
  const wanted = new URLSearchParams(search).get("next");
  // One slash and no backslash: "//host" and "/\host" are other sites to a browser.
  if (!wanted || !/^\/(?![/\\])/.test(wanted)) return null;
  try {
    const url = new URL(wanted, origin);
    return url.origin === origin ? url.pathname + url.search + url.hash : null;
  } catch {
    return null;
  }
}

/**
 * The same query, for the link to the other of the two account pages.
 * @param {string} path
 */
export function withNext(path) {
  const next = safeNext(location.search, location.origin);
  return next ? `${path}?next=${encodeURIComponent(next)}` : path;
}

/** Go on after signing in. */
export function goOn(fallback = "/") {
  location.assign(safeNext(location.search, location.origin) ?? fallback);
}
