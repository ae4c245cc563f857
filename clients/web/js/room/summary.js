// After a private session: what it was, what it cost, until when a refund can be asked for.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Dialog } from "../ui/dialog.js";
import { clock, credits, creditsText, dateTime, perMinuteText } from "../ui/format.js";
import { endText } from "./words.js";

/**
 * @param {{ summary: import("../state.js").PrivateSummary, asExpert: boolean, onClose: () => void }} props
 */
export function SummaryDialog({ summary, asExpert, onClose }) {
  // A switch that was never on is not worth a line of zeros.
  const used = summary.lines.filter((line) => line.component === "private" || line.seconds > 0);
  const names = { expert: summary.expert, member: summary.member };
  return html`<${Dialog}
    title=${t(asExpert ? "room.summary.title_expert" : "room.summary.title", names)}
    onClose=${onClose}
    closeOnBackdrop=${false}
    testid="summary"
  >
    <div class="stack">
      <p class="muted" data-testid="summary-reason" data-reason=${summary.reason}>
        ${endText(summary.reason, names, asExpert)}
      </p>
      <p class="summary-time">
        <span class="summary-clock numbers" data-testid="summary-time" data-ms=${summary.held_ms}>${clock(summary.held_ms)}</span>
        <span class="muted small">${dateTime(summary.started_at_ms)}</span>
      </p>
      <table class="summary-lines numbers">
        <caption class="visually-hidden">${t("room.summary.lines")}</caption>
        <thead class="visually-hidden">
          <tr>
            <th scope="col">${t("room.summary.what")}</th>
            <th scope="col">${t("room.summary.time")}</th>
            <th scope="col">${t("room.summary.amount")}</th>
          </tr>
        </thead>
        <tbody>
          ${used.map(
            (line) => html`<tr key=${line.component} data-testid="summary-line" data-component=${line.component}>
              <th scope="row">
                ${t(`room.component.${asExpert ? "expert." : ""}${line.component}`)}
                <span class="small muted">${perMinuteText(line.rate_units_per_s)}</span>
              </th>
              <td>${clock(line.seconds * 1000)}</td>
              <td data-units=${line.units}>${credits(line.units)}</td>
            </tr>`,
          )}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row" colspan="2">${t("room.summary.total")}</th>
            <td data-testid="summary-total" data-units=${summary.total_units}>${credits(summary.total_units)}</td>
          </tr>
          ${asExpert &&
          summary.earned_units != null &&
          html`<tr class="summary-earned">
            <th scope="row" colspan="2">${t("room.summary.earned")}</th>
            <td data-testid="summary-earned" data-units=${summary.earned_units}>${credits(summary.earned_units)}</td>
          </tr>`}
        </tfoot>
      </table>
      ${!asExpert &&
      html`<dl class="summary-facts small">
        ${summary.balance_units != null &&
        html`<div>
          <dt class="muted">${t("room.summary.balance")}</dt>
          <dd class="numbers" data-testid="summary-balance" data-units=${summary.balance_units}>${creditsText(summary.balance_units)}</dd>
        </div>`}
        ${summary.refund_until_ms != null &&
        html`<div>
          <dt class="muted">${t("room.summary.refund")}</dt>
          <dd data-testid="summary-refund">${t("room.summary.refund_until", { time: dateTime(summary.refund_until_ms) })}</dd>
        </div>`}
      </dl>`}
      <div class="dialog-actions">
        ${!asExpert && html`<a class="button button-quiet" href="/wallet">${t("room.summary.wallet")}</a>`}
        <button type="button" class="button button-accent" onClick=${onClose} data-testid="summary-close">
          ${t(asExpert ? "room.summary.back_studio" : "room.summary.back")}
        </button>
      </div>
    </div>
  <//>`;
}
