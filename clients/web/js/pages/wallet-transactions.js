// Every movement of the member's credits; a session opens to its lines.

import { Fragment, html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { has, t } from "../i18n.js";
import { dateTime, signedCredits } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { EmptyState, ErrorState, Spinner } from "../ui/parts.js";
import { SessionLines } from "../ui/session-lines.js";

/**
 * @typedef {{ id: string | number, at_ms: number, kind: string, units: number,
 *   session?: string | null }} Movement `session` is the id of the private session
 */

/** @param {{ version: number }} props a new version fetches the newest page again */
export function Transactions({ version }) {
  const [items, setItems] = useState(/** @type {Movement[] | null} */ (null));
  const [next, setNext] = useState(/** @type {string | number | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  const newest = useRef(0);
  const load = async (/** @type {string | number | null} */ before) => {
    newest.current += 1;
    const mine = newest.current;
    setBusy(true);
    setError(null);
    try {
      const query = before === null ? "" : `?before=${encodeURIComponent(before)}`;
      const page = await get(`/wallet/transactions${query}`);
      if (mine !== newest.current) return;
      setItems((known) => (before === null ? page.items : [...(known ?? []), ...page.items]));
      setNext(page.next ?? null);
    } catch (reason) {
      if (mine === newest.current) setError(errorText(reason));
    }
    setBusy(false);
  };
  useEffect(() => {
    load(null);
  }, [version]);
  return html`<section class="transactions" aria-labelledby="tx-title">
    <h2 id="tx-title">${t("tx.title")}</h2>
    ${error && !items && html`<${ErrorState} text=${error} onRetry=${() => load(null)} />`}
    ${items?.length === 0 &&
    html`<div class="panel"><${EmptyState} icon="receipt" heading="h3" title=${t("tx.empty_title")} text=${t("tx.empty_text")} /></div>`}
    ${items && items.length > 0 && html`<${Table} items=${items} />`}
    ${!items && !error && html`<div class="panel tx-loading"><${Spinner} /></div>`}
    ${next !== null &&
    html`<button type="button" class="button" disabled=${busy} onClick=${() => load(next)} data-testid="tx-more">
      ${t("tx.more")}
    </button>`}
  </section>`;
}

/** @param {{ items: Movement[] }} props */
function Table({ items }) {
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
        ${items.map((item) => html`<${Row} key=${item.id} item=${item} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{ item: Movement }} props */
function Row({ item }) {
  const [open, setOpen] = useState(false);
  const session = item.session ?? null;
  const kind = has(`tx.kind.${item.kind}`) ? item.kind : "other";
  const details = `tx-${item.id}`;
  return html`<${Fragment}>
    <tr data-testid="transaction" data-kind=${item.kind} data-units=${item.units}>
      <td class="tx-when">${dateTime(item.at_ms)}</td>
      <td class="tx-what">
        ${t(`tx.kind.${kind}`)}
        ${session !== null &&
        html`<button
          type="button"
          class="tx-toggle"
          aria-expanded=${open ? "true" : "false"}
          aria-controls=${details}
          onClick=${() => setOpen(!open)}
          data-testid="tx-details"
        >
          ${t("tx.details")}<${Icon} name="chevron-down" size=${16} />
        </button>`}
        <span class="tx-when-below">${dateTime(item.at_ms)}</span>
      </td>
      <td class=${`tx-number numbers ${item.units > 0 ? "tx-plus" : ""}`}>${signedCredits(item.units)}</td>
    </tr>
    ${session !== null &&
    html`<tr id=${details} hidden=${!open} class="tx-detail">
      <td colspan="3">${open && html`<${Session} id=${session} />`}</td>
    </tr>`}
  <//>`;
}

/** @param {{ id: string }} props */
function Session({ id }) {
  const [summary, setSummary] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    get(`/sessions/${encodeURIComponent(id)}`).then(setSummary, (reason) => setError(errorText(reason)));
  }, [id]);
  if (error) return html`<p class="muted" role="alert">${error}</p>`;
  if (!summary) return html`<${Spinner} />`;
  return html`<p class="tx-who muted small">${t("tx.with", { expert: summary.expert })}</p>
    <${SessionLines} lines=${summary.lines} total=${summary.total_units} />`;
}
