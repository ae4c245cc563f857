// Starts a page: who is here, which words, the frame around it, then the page's own module.

import { get } from "./api.js";
import { createHub } from "./hub.js";
import { loadCatalogs, setLanguage, t } from "./i18n.js";
import { currentSession, updateSession } from "./session.js";
import { mountFrame } from "./ui/frame.js";

/**
 * Every page module exports `mount(root, context)`; it may be async. The wire connects after it
 * returned. `words` are its catalogs, `css` its style sheet, `wire` whether it needs the socket.
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
  "sign-in": { load: () => import("./pages/sign-in.js"), words: ["account"], wire: false },
  "sign-up": { load: () => import("./pages/sign-up.js"), words: ["account"], wire: false },
  help: { load: () => import("./pages/help.js"), words: ["help"], wire: false },
};
const NOT_FOUND = { load: () => import("./pages/not-found.js"), words: [], wire: false };

/**
 * @typedef {object} Context
 * @property {string} page
 * @property {string} expert name of the room's expert, or ""
 * @property {import("./session.js").You | null} me at the time of loading; `useSession` is live
 * @property {ReturnType<typeof createHub>} wire
 * @property {string} lang
 */

/** @param {string} name of a file below `css/` */
function loadStyle(name) {
  return new Promise((resolve) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(`../css/${name}`, import.meta.url).pathname;
    link.onload = link.onerror = () => resolve(undefined);
    document.head.append(link);
  });
}

async function loadMe() {
  try {
    const { you, balance } = await get("/me");
    const known = you && you.role !== "guest" ? you : null;
    updateSession({ me: known, balance: known ? (balance ?? null) : null });
  } catch {
    updateSession({ me: null, balance: null });
  }
}

async function start() {
  const { page = "", expert = "" } = document.documentElement.dataset;
  const entry = PAGES[page] ?? NOT_FOUND;
  setLanguage(document.documentElement.lang);
  const [module] = await Promise.all([
    entry.load(),
    loadMe(),
    loadCatalogs(["common", ...entry.words]),
    entry.css ? loadStyle(entry.css) : undefined,
  ]);
  const wire = createHub();
  /** @type {Context} */
  const context = {
    page,
    expert,
    me: currentSession().me,
    wire,
    lang: document.documentElement.lang,
  };
  const root = mountFrame(context);
  await module.mount(root, context);
  if (entry.wire) await wire.start();
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
