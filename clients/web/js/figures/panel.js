// The panel with the figures of one's own connections: tables, the server's and the browser's apart.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "../ui/icons.js";
import { browserRows, serverRows } from "./rows.js";

export const PANEL_ID = "figures-panel";

/**
 * @param {{ figures: import("../../wire.js").ConnectionFigures[] | null,
 *   seen: Record<string, import("../stats.js").Seen>,
 *   titleOf: (feed: string, direction: string) => string, onClose: () => void }} props
 */
export function FiguresPanel({ figures, seen, titleOf, onClose }) {
  return html`<section
    class="figures-panel"
    id=${PANEL_ID}
    aria-labelledby="figures-title"
    data-testid="figures-panel"
    onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      onClose();
    }}
  >
    <div class="figures-head">
      <h2 id="figures-title">${t("room.details")}</h2>
      <button type="button" class="icon-button" aria-label=${t("action.close")} title=${t("action.close")} onClick=${onClose} data-testid="figures-close">
        <${Icon} name="close" />
      </button>
    </div>
    <div class="figures-body" tabindex="0" role="group" aria-labelledby="figures-title">
      ${figures === null || figures.length === 0
        ? html`<p class="muted small" data-testid="figures-none">${t(figures === null ? "state.loading" : "figures.none")}</p>`
        : figures.map((connection) => {
            const key = `${connection.feed}:${connection.direction}`;
            const title = titleOf(connection.feed, connection.direction);
            return html`<${Connection} key=${key} id=${key} connection=${connection} seen=${seen[key]} title=${title} />`;
          })}
    </div>
  </section>`;
}

function Connection({ id, connection, seen, title }) {
  const browser = browserRows(seen, connection.direction);
  return html`<table class="figures-table" data-testid="figures" data-connection=${id}>
    <caption>${title}</caption>
    <thead>
      <tr><th scope="col">${t("figures.figure")}</th><th scope="col">${t("figures.video")}</th><th scope="col">${t("figures.audio")}</th></tr>
    </thead>
    <${Group} title=${t("figures.by_server")} rows=${serverRows(connection)} of="server" />
    ${browser.length > 0 && html`<${Group} title=${t("figures.by_browser")} rows=${browser} of="browser" />`}
  </table>`;
}

function Group({ title, rows, of }) {
  return html`<tbody data-of=${of}>
    <tr class="figures-group"><th scope="rowgroup" colspan="3">${title}</th></tr>
    ${rows.map(
      (/** @type {import("./rows.js").Row} */ row) => html`<tr key=${row.key} data-figure=${row.key}>
        <th scope="row">${row.label}</th>
        ${row.both !== undefined
          ? html`<td colspan="2" class="numbers">${row.both}</td>`
          : html`<td class="numbers">${row.video}</td><td class="numbers">${row.audio}</td>`}
      </tr>`,
    )}
  </tbody>`;
}
