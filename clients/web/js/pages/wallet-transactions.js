// Every movement of the member's credits; a session is one line, opens to its parts and can be
// asked back for a day.

import { Fragment, html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { t } from "../i18n.js";
import { clock, dateTime, perMinuteText, signedCredits } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { titleOf } from "../ui/movement-title.js";
import { EmptyState, ErrorState, Spinner } from "../ui/parts.js";
import { SessionLines } from "../ui/session-lines.js";
import { withNewest, withOlder } from "./wallet-lines.js";
import { Refund } from "./wallet-refund.js";

/**
 * @typedef {import("./wallet-lines.js").Movement} Movement
 * @typedef {import("./wallet-lines.js").PrivateLine} PrivateLine
 * @typedef {import("./wallet-lines.js").Page & { aheadMs: number }} Shown `aheadMs`: the server's clock
 */

/** @param {{ version: number }} props a new version fetches the newest page again */
export function Transactions({ version }) {
  const [shown, setShown] = useState(/** @type {Shown | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  const newest = useRef(0);
  const load = async (/** @type {number | null} */ before) => {
    newest.current += 1;
    const mine = newest.current;
    setBusy(true);
    setError(null);
    try {
      const page = await get(`/wallet/transactions${before === null ? "" : `?before=${before}`}`);
      if (mine !== newest.current) return;
      const aheadMs = page.now_ms - Date.now();
      setShown((known) => ({
        ...(before === null || known === null ? withNewest(known, page) : withOlder(known, page)),
        aheadMs,
      }));
    } catch (reason) {
      if (mine === newest.current) setError(errorText(reason));
    }
    setBusy(false);
  };
  useEffect(() => {
    load(null);
  }, [version]);
  return html`<section class="transactions" aria-labelledby="tx-title">
    <div class="tx-head">
      <h2 id="tx-title">${t("tx.title")}</h2>
      ${shown &&
      shown.items.length > 0 &&
      html`<a class="tx-export" href="/api/v1/wallet/transactions.csv" download data-testid="tx-export">
        <${Icon} name="receipt" size=${18} />${t("tx.export")}
      </a>`}
    </div>
    ${error && !shown && html`<${ErrorState} text=${error} onRetry=${() => load(null)} />`}
    ${shown?.items.length === 0 &&
    html`<div class="panel"><${EmptyState} icon="receipt" heading="h3" title=${t("tx.empty_title")} text=${t("tx.empty_text")} /></div>`}
    ${shown && shown.items.length > 0 && html`<${Table} shown=${shown} onAsked=${() => load(null)} />`}
    ${!shown && !error && html`<div class="panel tx-loading"><${Spinner} /></div>`}
    ${error && shown && html`<p class="muted" role="alert">${error}</p>`}
    ${shown &&
    shown.next !== null &&
    html`<button type="button" class="button" disabled=${busy} onClick=${() => load(shown.next)} data-testid="tx-more">
      ${t("tx.more")}
    </button>`}
  </section>`;
}

/** @param {{ shown: Shown, onAsked: () => void }} props */
function Table({ shown, onAsked }) {
  return html`<div class="panel tx-panel">
    <table class="tx-table" data-testid="transactions">
      <thead>
        <tr>
          <th scope="col" class="tx-when">${t("tx.when")}</th>
          <th scope="col">${t("tx.what")}</th>
          <th scope="col" class="tx-number">${t("tx.amount")}</th>
        </tr>
      </thead>
      <tbody>
        ${shown.items.map((item) => html`<${Row} key=${item.id} item=${item} aheadMs=${shown.aheadMs} onAsked=${onAsked} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {PrivateLine} session "12:34 · 2.99/min · Cam2Cam 02:10" */
function inShort({ lines }) {
  const [own] = lines.filter((line) => line.component === "private");
  const extras = lines.filter((line) => line !== own && line.seconds > 0);
  return [
    clock(own.seconds * 1000),
    perMinuteText(own.rate_units_per_s),
    ...extras.map((line) => `${t(`tx.component.${line.component}`)} ${clock(line.seconds * 1000)}`),
  ].join(" · ");
}

/** @param {{ item: Movement, aheadMs: number, onAsked: () => void }} props */
function Row({ item, aheadMs, onAsked }) {
  const [open, setOpen] = useState(false);
  const session = item.kind === "session" ? (item.private ?? null) : null;
  const details = `tx-${item.id}`;
  return html`<${Fragment}>
    <tr data-testid="transaction" data-kind=${item.kind} data-units=${item.units}>
      <td class="tx-when">${dateTime(item.at_ms)}</td>
      <td class="tx-what">
        <span data-testid="tx-title">${titleOf(item)}</span>
        ${session && html`<span class="tx-short numbers" data-testid="tx-short">${inShort(session)}</span>`}
        <span class="tx-when-below">${dateTime(item.at_ms)}</span>
        ${session &&
        html`<span class="tx-actions">
          <button
            type="button"
            class="tx-toggle"
            aria-expanded=${open ? "true" : "false"}
            aria-controls=${details}
            onClick=${() => setOpen(!open)}
            data-testid="tx-details"
          >
            ${t("tx.details")}<${Icon} name="chevron-down" size=${16} />
          </button>
          ${session.refund && html`<${Refund} session=${session} aheadMs=${aheadMs} onAsked=${onAsked} />`}
        </span>`}
      </td>
      <td class=${`tx-number numbers ${item.units > 0 ? "tx-plus" : ""}`}>${signedCredits(item.units)}</td>
    </tr>
    ${session &&
    html`<tr id=${details} hidden=${!open} class="tx-detail">
      <td colspan="3">${open && html`<${SessionLines} lines=${session.lines} total=${session.total_units} />`}</td>
    </tr>`}
  <//>`;
}
