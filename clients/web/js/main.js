// Starts a page: who is here, which words, the frame around it, then the page's own module. Between
// the home page and a room the document stays, and only the page in it is replaced.

import { get } from "./api.js";
import { createHub } from "./hub.js";
import { loadCatalogs, setLanguage, t } from "./i18n.js";
import { iceConfiguration } from "./ice-servers.js";
import { followLinks } from "./navigate.js";
import { currentSession, updateSession } from "./session.js";
import { refreshAutoReload } from "./ui/auto-reload.js";
import { mountFrame } from "./ui/frame.js";

/**
 * Every page module exports `mount(root, context)`; it may be async. The wire connects after it
 * returned. A page that can make room for another in the same document returns a `Mounted`.
 * `words` are its catalogs, `css` its style sheet, `wire` whether it needs the socket.
 * @type {Record<string, { load: () => Promise<any>, words: string[], css?: string, wire: boolean }>}
 */
const PAGES = {
  home: { load: () => import("./pages/home.js"), words: ["home"], wire: true },
  room: {
    load: () => import("./room/room.js"),
    words: ["room", "wallet"],
    css: "room.css",
    wire: true,
  },
  studio: {
    load: () => import("./studio/studio.js"),
    words: ["studio", "room"],
    css: "studio.css",
    wire: true,
  },
  wallet: { load: () => import("./pages/wallet.js"), words: ["wallet"], wire: true },
  earnings: {
    load: () => import("./pages/earnings.js"),
    words: ["earnings"],
    css: "earnings.css",
    wire: false,
  },
  staff: {
    load: () => import("./pages/staff.js"),
    words: ["staff", "wallet"],
    css: "staff.css",
    wire: false,
  },
  "sign-in": { load: () => import("./pages/sign-in.js"), words: ["account"], wire: false },
  "sign-up": { load: () => import("./pages/sign-up.js"), words: ["account"], wire: false },
  help: { load: () => import("./pages/help.js"), words: ["help"], wire: false },
};
/** The next page is fetched at the latest this long after the first one stands. */
const IDLE_MAX_MS = 500;
const NOT_FOUND = { load: () => import("./pages/not-found.js"), words: [], wire: false };

/**
 * @typedef {object} Context
 * @property {string} page
 * @property {string} expert name of the room's expert, or ""
 * @property {import("./session.js").You | null} me at the time of loading; `useSession` is live
 * @property {ReturnType<typeof createHub>} wire
 * @property {string} lang
 * @property {(path: string) => void} go to another page, as a click on a link would
 *
 * @typedef {object} Mounted
 * @property {() => void} leave removes the page and ends what it began
 * @property {() => boolean} [holds] whether leaving would end something that must not end by mistake
 */

/** @type {Map<string, Promise<void>>} */
const styles = new Map();

/** @param {string} name of a file below `css/` */
function loadStyle(name) {
  const known = styles.get(name);
  if (known !== undefined) return known;
  /** @type {Promise<void>} */
  const loading = new Promise((resolve) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(`../css/${name}`, import.meta.url).pathname;
    link.onload = link.onerror = () => resolve();
    document.head.append(link);
  });
  styles.set(name, loading);
  return loading;
}

/**
 * Everything that a page needs before it can be mounted.
 * @param {string} page
 */
async function load(page) {
  const entry = PAGES[page] ?? NOT_FOUND;
  const [module] = await Promise.all([
    entry.load(),
    loadCatalogs(["common", ...entry.words]),
    entry.css ? loadStyle(entry.css) : undefined,
  ]);
  return module;
}

async function loadMe() {
  try {
    const { you, balance, staff } = await get("/me");
    const known = you && you.role !== "guest" ? you : null;
    updateSession({ me: known, balance: known ? (balance ?? null) : null, staff: staff === true });
  } catch {
    updateSession({ me: null, balance: null, staff: false });
  }
}

/** @type {Mounted | null} */
let mounted = null;
let shows = 0;
const wire = createHub();
wire.onMessage((message) => {
  if (message.type === "wallet.changed" && message.part === "auto_reload") void refreshAutoReload();
});
const go = followLinks({
  async show({ page, expert }) {
    const show = ++shows;
    const module = await load(page);
    if (show !== shows) return; // another click was faster
    mounted?.leave();
    document.documentElement.dataset.page = page;
    document.documentElement.dataset.expert = expert;
    const root = await mount(module, page, expert);
    root.focus({ preventScroll: true });
  },
  mayStay: () => mounted !== null && !mounted.holds?.() && wire.alive(),
});

/**
 * @param {any} module
 * @param {string} page
 * @param {string} expert
 */
async function mount(module, page, expert) {
  /** @type {Context} */
  const context = {
    page,
    expert,
    me: currentSession().me,
    wire,
    lang: document.documentElement.lang,
    go,
  };
  const root = mountFrame(context);
  mounted = (await module.mount(root, context)) ?? null;
  return root;
}

/** Fetches what the next click will need, once there is nothing better to do. */
function prepareNext(/** @type {string} */ page) {
  if (page !== "home" && page !== "room") return;
  const fetchNext = () => {
    void load(page === "home" ? "room" : "home").catch(() => {}); // the click will tell
    if (page === "home") {
      void iceConfiguration();
      void import("./wire.js");
    }
  };
  if ("requestIdleCallback" in window) requestIdleCallback(fetchNext, { timeout: IDLE_MAX_MS });
  else setTimeout(fetchNext, IDLE_MAX_MS);
}

async function start() {
  const { page = "", expert = "" } = document.documentElement.dataset;
  setLanguage(document.documentElement.lang);
  const [module] = await Promise.all([load(page), loadMe()]);
  await mount(module, page, expert);
  if ((PAGES[page] ?? NOT_FOUND).wire) await wire.start();
  prepareNext(page);
}

start().catch((error) => {
  console.error(error);
  const app = document.getElementById("app");
  const note = document.createElement("p");
  note.className = "page-failed";
  note.setAttribute("role", "alert");
  note.textContent = t("error.page");
  app?.replaceChildren(note);
});
