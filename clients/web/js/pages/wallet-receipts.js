// Orders: when each was placed and when it settled or why it failed; receipts to be read again.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { t } from "../i18n.js";
import { useSession } from "../session.js";
import { openDialog } from "../ui/dialog.js";
import { credits, dateTime, money } from "../ui/format.js";
import { Badge, ErrorState, Facts, Spinner } from "../ui/parts.js";
import { failureKey } from "../ui/purchase.js";
import { methodName } from "../ui/purchase-steps.js";

/** @typedef {import("../ui/purchase.js").Order} Order */

const PAID = ["settled", "refunded", "charged_back"];

/** @param {{ version: number }} props a new version fetches the orders again */
export function Receipts({ version }) {
  const [orders, setOrders] = useState(/** @type {Order[] | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const load = () => {
    setError(null);
    get("/orders").then(
      (answer) => setOrders(answer.orders),
      (reason) => setError(errorText(reason)),
    );
  };
  useEffect(load, [version]);
  if (orders?.length === 0) return null;
  return html`<section class="receipts" aria-labelledby="receipts-title">
    <h2 id="receipts-title">${t("receipts.title")}</h2>
    ${error && html`<${ErrorState} text=${error} onRetry=${load} />`}
    ${!orders && !error && html`<div class="panel tx-loading"><${Spinner} /></div>`}
    ${orders &&
    html`<ul class="panel receipt-list" data-testid="receipts">
      ${orders.map((order) => html`<${Line} key=${order.id} order=${order} />`)}
    </ul>`}
  </section>`;
}

/** @param {{ order: Order }} props */
function Line({ order }) {
  const show = () =>
    openDialog({
      title: t("receipts.single"),
      testid: "receipt-dialog",
      content: () => html`<${Receipt} order=${order} />`,
    });
  return html`<li class="receipt-line" data-testid="order" data-state=${order.state}>
    <span class="receipt-what">
      <span>${t("receipts.line", { amount: credits(order.credits_units) })}</span>
      <span class="muted small">${t("receipts.ordered_at", { time: dateTime(order.created_at_ms) })}</span>
      ${order.settled_at_ms &&
      html`<span class="muted small">${t("receipts.settled_at", { time: dateTime(order.settled_at_ms) })}</span>`}
      ${order.state === "failed" && html`<span class="small">${t(failureKey(order.failure))}</span>`}
      ${order.origin === "auto_reload" && html`<${Badge}>${t("reload.title")}<//>`}
      ${order.state !== "settled" && html`<${Badge} kind="warn">${t(`receipts.state.${order.state}`)}<//>`}
    </span>
    <span class="numbers">${money(order.price_minor, order.currency)}</span>
    ${PAID.includes(order.state) &&
    html`<button type="button" class="button button-quiet" onClick=${show} data-testid="receipt-open">
      ${t("receipts.show")}<span class="visually-hidden"> ${order.id}</span>
    </button>`}
  </li>`;
}

/** @param {{ order: Order }} props */
function Receipt({ order }) {
  const { me } = useSession();
  return html`<p class="print-only">${t("receipts.of", { name: me?.name ?? "" })}</p>
    <${Facts}
      rows=${[
        [t("tx.amount"), credits(order.credits_units)],
        [t("buy.you_paid"), html`<strong>${money(order.price_minor, order.currency)}</strong>`],
        ...(order.list_price_minor
          ? [[t("buy.list_price"), money(order.list_price_minor, order.currency)]]
          : []),
        [t("buy.with"), methodName({ id: order.method, label: order.method })],
        [t("receipts.ordered"), dateTime(order.created_at_ms)],
        ...(order.settled_at_ms ? [[t("receipts.settled"), dateTime(order.settled_at_ms)]] : []),
        ...(order.refunded_units ? [[t("receipts.went_back"), credits(order.refunded_units)]] : []),
        [t("receipts.statement"), order.descriptor],
        [t("buy.order"), html`<span class="order-id">${order.id}</span>`],
      ]}
    />
    <p class="receipt-note faint small">${t("receipts.bank")}</p>
    <div class="dialog-actions no-print">
      <button type="button" class="button" onClick=${() => print()} data-testid="receipt-print">${t("receipts.print")}</button>
    </div>`;
}
