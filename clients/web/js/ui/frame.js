// The frame of every page: header, main, mobile tab bar and the region for notices.

import { html, render } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Header } from "./header.js";
import { TabBar } from "./tab-bar.js";
import { prepareToasts } from "./toast.js";

/** @type {{ header: HTMLElement, tabs: HTMLElement, main: HTMLElement } | null} */
let frame = null;

/** @param {HTMLElement} app */
function makeFrame(app) {
  const header = document.createElement("header");
  header.className = "site-header";
  const tabs = document.createElement("nav");
  tabs.className = "tab-bar";
  tabs.setAttribute("aria-label", t("nav.main"));
  const main = document.createElement("main");
  app.replaceChildren(header, main, tabs);
  document.querySelector(".skip-link")?.setAttribute("href", "#main");
  prepareToasts();
  return { header, tabs, main };
}

/**
 * Fill `#app`, or make room for another page in the frame that is there. The page renders into the returned `<main>`, which the frame never touches
 * again, so that a `<video>` in it lives as long as its page wants.
 * @param {import("../main.js").Context} context
 * @returns {HTMLElement}
 */
export function mountFrame(context) {
  const app = /** @type {HTMLElement} */ (document.getElementById("app"));
  frame ??= makeFrame(app);
  const main = document.createElement("main");
  main.id = "main";
  main.tabIndex = -1;
  main.className = `page page-${context.page || "not-found"}`;
  frame.main.replaceWith(main);
  frame.main = main;
  render(html`<${Header} context=${context} />`, frame.header);
  render(html`<${TabBar} page=${context.page} />`, frame.tabs);
  return main;
}
