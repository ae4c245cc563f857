// What is shown where no page is.

import { html, render } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { EmptyState } from "../ui/parts.js";

/** @param {HTMLElement} root */
export function mount(root) {
  document.title = `${t("not_found.title")} · Parlour`;
  render(
    html`<${EmptyState} icon="info" title=${t("not_found.title")} text=${t("not_found.text")} heading="h1">
      <a class="button button-accent" href="/">${t("action.home")}</a>
    <//>`,
    root,
  );
}
