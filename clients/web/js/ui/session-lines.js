// What a private session cost, line by line: rate, whole seconds, credits.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { clock, credits, perMinuteText } from "./format.js";

/**
 * @typedef {{ component: string, rate_units_per_s: number, seconds: number, units: number }} Line
 */

/** @param {{ lines: Line[], total: number }} props a surcharge that was never on is left out */
export function SessionLines({ lines, total }) {
  const used = lines.filter((line) => line.component === "private" || line.seconds > 0);
  return html`<table class="tx-lines">
    <thead>
      <tr>
        <th scope="col">${t("tx.line")}</th>
        <th scope="col" class="tx-number">${t("tx.rate")}</th>
        <th scope="col" class="tx-number">${t("tx.time")}</th>
        <th scope="col" class="tx-number">${t("tx.amount")}</th>
      </tr>
    </thead>
    <tbody>
      ${used.map(
        (line) => html`<tr key=${line.component}>
          <td>${t(`tx.component.${line.component}`)}</td>
          <td class="tx-number numbers">${perMinuteText(line.rate_units_per_s)}</td>
          <td class="tx-number numbers">${clock(line.seconds * 1000)}</td>
          <td class="tx-number numbers">${credits(line.units)}</td>
        </tr>`,
      )}
    </tbody>
    <tfoot>
      <tr>
        <th scope="row" colspan="3">${t("tx.total")}</th>
        <td class="tx-number numbers"><strong>${credits(total)}</strong></td>
      </tr>
    </tfoot>
  </table>`;
}
