// Short notices in the page's one live region.

import { html, render } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "./icons.js";

const SHOWN_MS = 6_000;
/** More than three at once are read by nobody. */
const SHOWN_MAX = 3;

/** @typedef {{ id: number, text: string, kind: "info" | "good" | "bad" }} Toast */

/** @type {Toast[]} */
let toasts = [];
let lastId = 0;

function region() {
  let element = document.getElementById("toasts");
  if (!element) {
    element = document.createElement("div");
    element.id = "toasts";
    element.className = "toasts";
    element.setAttribute("role", "status");
    element.setAttribute("aria-live", "polite");
    document.body.append(element);
  }
  return element;
}

/** A popover stands in the top layer, so a notice is seen above an open dialog. */
function raise(/** @type {HTMLElement} */ element) {
  if (!("showPopover" in element)) return;
  element.popover = "manual";
  if (element.matches(":popover-open")) element.hidePopover();
  if (toasts.length > 0) element.showPopover();
}

function draw() {
  const icons = { info: "info", good: "check", bad: "alert" };
  render(
    toasts.map(
      ({ id, text, kind }) => html`<div key=${id} class=${`toast toast-${kind}`} data-testid="toast">
        <${Icon} name=${icons[kind]} />
        <span>${text}</span>
        <button class="icon-button" onClick=${() => dismiss(id)} aria-label=${t("action.dismiss")}>
          <${Icon} name="close" size=${16} />
        </button>
      </div>`,
    ),
    region(),
  );
}

/** @param {number} id */
function dismiss(id) {
  toasts = toasts.filter((toast) => toast.id !== id);
  draw();
  if (toasts.length === 0) raise(region());
}

/**
 * Show a notice for some seconds. It is announced politely and takes no focus.
 * @param {string} text
 * @param {"info" | "good" | "bad"} [kind]
 */
export function toast(text, kind = "info") {
  lastId += 1;
  const id = lastId;
  toasts = [...toasts.filter((other) => other.text !== text), { id, text, kind }].slice(-SHOWN_MAX);
  const element = region();
  raise(element);
  draw();
  setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Make the region before the first notice, so that screen readers know it. */
export function prepareToasts() {
  region();
}
