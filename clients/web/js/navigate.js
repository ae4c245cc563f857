// Moves between the home page and a room within one document: the socket, the words and the
// modules stay, so that a click is a picture in a tenth of a second. Everything else is a plain
// link. Knows the address bar; knows nothing of pages.

/**
 * @typedef {{ page: "home" | "room", expert: string }} Place
 *
 * @typedef {object} Options
 * @property {(place: Place) => Promise<void>} show replaces what is seen; when it fails, the
 *   browser loads the place instead
 * @property {() => boolean} mayStay whether this document can go on; if not, the browser loads
 */

/** A page that is built from what the server says may be too short at first to scroll back in. */
const SCROLL_WAIT_MS = 2_000;
const ROOM = /^\/room\/([^/]+)\/?$/;

/**
 * The place that a path names, null when it needs a document of its own.
 * @param {string} pathname
 * @returns {Place | null}
 */
export function placeOf(pathname) {
  if (pathname === "/") return { page: "home", expert: "" };
  const room = ROOM.exec(pathname);
  if (room === null) return null;
  try {
    return { page: "room", expert: decodeURIComponent(room[1]) };
  } catch {
    return null; // a stray percent sign: the server knows what to say
  }
}

/**
 * The link of a plain click, null for one that the browser should follow itself: another button, a
 * modifier, a new window, a download, another site, or a query that the server must see.
 * @param {MouseEvent} event
 * @returns {HTMLAnchorElement | null}
 */
export function plainLink(event) {
  if (event.defaultPrevented || event.button !== 0) return null;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return null;
  const target = /** @type {Element | null} */ (event.target);
  const link = /** @type {HTMLAnchorElement | null} */ (target?.closest?.("a[href]") ?? null);
  if (link === null || link.hasAttribute("target") || link.hasAttribute("download")) return null;
  if (link.origin !== location.origin || link.search !== "" || link.hash !== "") return null;
  return link;
}

/**
 * Follows links and the Back and Forward buttons.
 * @param {Options} options
 * @returns {(path: string) => void} goes to a path as a click on a link would
 */
export function followLinks({ show, mayStay }) {
  let shown = location.pathname + location.search;

  let turns = 0;

  /**
   * @param {Place} place what the address bar says already
   * @param {number} top where its reader had scrolled to
   */
  function follow(place, top) {
    const turn = ++turns;
    show(place).then(
      () => scrollBack(top, () => turn === turns),
      (error) => {
        console.error(error);
        location.reload();
      },
    );
  }

  /** @param {string} path */
  function go(path) {
    const place = placeOf(path);
    if (place === null || !mayStay()) {
      location.assign(path);
      return;
    }
    history.replaceState({ top: scrollY }, "");
    history.pushState(null, "", path);
    shown = path;
    scrollTo(0, 0);
    follow(place, 0);
  }

  document.addEventListener("click", (event) => {
    const link = plainLink(event);
    if (link === null || placeOf(link.pathname) === null) return;
    event.preventDefault();
    go(link.pathname);
  });
  addEventListener("popstate", (event) => {
    const wanted = location.pathname + location.search;
    const place = placeOf(location.pathname);
    if (location.pathname === shown.split("?")[0]) return; // a jump within the page
    if (place === null || !mayStay()) {
      // Back to what is still on screen, then away by a load: the browser asks first if it must.
      history.pushState(null, "", shown);
      location.assign(wanted);
      return;
    }
    shown = wanted;
    follow(place, event.state?.top ?? 0);
  });
  return go;
}

/**
 * Scrolls to where the reader was, as soon as the page is long enough.
 * @param {number} top
 * @param {() => boolean} stillHere false once another page is shown
 */
function scrollBack(top, stillHere) {
  if (top <= 0) return;
  const untilMs = performance.now() + SCROLL_WAIT_MS;
  const attempt = () => {
    if (!stillHere()) return;
    scrollTo(0, top);
    if (scrollY < top - 1 && performance.now() < untilMs) requestAnimationFrame(attempt);
  };
  attempt();
}
