// Orders of credits on the staff page: a member's, and giving the money of one back.

import { html, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get, newKey, post } from "../api.js";
import { has, t } from "../i18n.js";
import { askFirst } from "../ui/confirm.js";
import { credits, dateTime, minorFromText, money } from "../ui/format.js";
import { Badge, EmptyState, Notice, Spinner } from "../ui/parts.js";
import { toast } from "../ui/toast.js";
import { StaffSearch } from "./staff-search.js";
import { WrittenStep } from "./staff-step.js";

/**
 * @typedef {import("../ui/purchase.js").Order} Order
 * @typedef {{ id: string, state: string, price_minor: number, units: number, decided_by: string,
 *   requested_at_ms: number }} Given
 * @typedef {{ member: string, order: Order, refundable_minor: number, refundable_units: number,
 *   refunds: Given[] }} Looked
 */

const PAID = ["settled", "refunded", "charged_back"];

export function StaffOrders() {
  const [found, setFound] = useState(/** @type {{ member: string, orders: Order[] } | null} */ (null));
  const look = async (/** @type {string} */ member) => {
    const { orders } = await get(`/staff/orders?member=${encodeURIComponent(member)}`);
    setFound({ member, orders });
  };
  return html`<section class="staff-section" aria-labelledby="staff-orders-title">
    <h2 id="staff-orders-title">${t("staff.orders.title")}</h2>
    <${StaffSearch} name="orders" look=${look} onGone=${() => setFound(null)} />
    ${found?.orders.length === 0 &&
    html`<div class="panel"><${EmptyState} icon="receipt" heading="h3" title=${t("staff.orders.none", { name: found.member })} /></div>`}
    ${found &&
    found.orders.length > 0 &&
    html`<ul class="panel receipt-list" data-testid="staff-orders">
      ${found.orders.map((order) => html`<${Line} key=${order.id} order=${order} />`)}
    </ul>`}
  </section>`;
}

/** @param {{ order: Order }} props */
function Line({ order }) {
  const [open, setOpen] = useState(false);
  const details = `order-${order.id}`;
  return html`<li class="receipt-line" data-testid="staff-order" data-state=${order.state}>
    <span class="receipt-what">
      <span>${t("receipts.line", { amount: credits(order.credits_units) })}</span>
      <span class="muted small">${t("receipts.ordered_at", { time: dateTime(order.created_at_ms) })}</span>
      ${order.state !== "settled" && html`<${Badge} kind="warn">${t(`receipts.state.${order.state}`)}<//>`}
    </span>
    <span class="numbers">${money(order.price_minor, order.currency)}</span>
    ${PAID.includes(order.state) &&
    html`<button
        type="button"
        class="button button-quiet"
        aria-expanded=${open ? "true" : "false"}
        aria-controls=${details}
        onClick=${() => setOpen(!open)}
        data-testid="staff-order-open"
      >
        ${t("tx.details")}<span class="visually-hidden"> ${order.id}</span>
      </button>
      <div id=${details} class="staff-order" hidden=${!open}>${open && html`<${Details} id=${order.id} />`}</div>`}
  </li>`;
}

/** @param {{ id: string }} props */
function Details({ id }) {
  const [shown, setShown] = useState(/** @type {Looked | null} */ (null));
  const [problem, setProblem] = useState("");
  const asked = useRef(false);
  if (!asked.current) {
    asked.current = true;
    get(`/staff/orders/${encodeURIComponent(id)}`).then(setShown, (error) => setProblem(errorText(error)));
  }
  if (problem) return html`<${Notice} kind="bad" alert>${problem}<//>`;
  if (!shown) return html`<${Spinner} />`;
  const { order, refunds } = shown;
  return html`${refunds.map(
      (given) => html`<p key=${given.id} class="row" data-testid="order-refund" data-state=${given.state}>
        <${Badge} kind=${given.state === "done" ? "live" : "warn"}>
          ${t(has(`staff.orders.state.${given.state}`) ? `staff.orders.state.${given.state}` : "staff.orders.state.pending")}
        <//>
        <span class="numbers">${money(given.price_minor, order.currency)}</span>
        <span class="muted small">${t("staff.refunds.decided_by", { name: given.decided_by, time: dateTime(given.requested_at_ms) })}</span>
      </p>`,
    )}
    ${shown.refundable_minor > 0
      ? html`<${GiveBack} shown=${shown} onGiven=${setShown} />`
      : html`<p class="muted small">${t("staff.orders.nothing_left")}</p>`}`;
}

/** @param {{ shown: Looked, onGiven: (now: Looked) => void }} props */
function GiveBack({ shown, onGiven }) {
  const { order, member, refundable_minor: most } = shown;
  const ask = (/** @type {number | null} */ minor) => {
    const amount = money(minor ?? most, order.currency);
    const key = newKey(); // of this decision: pressed again after a lost answer, it is the same one
    return askFirst({
      title: t("staff.orders.ask_title", { amount }),
      testid: "order-refund-confirm",
      action: t("staff.refunds.approve"),
      content: html`<p>${t("staff.orders.ask_text", { member, amount })}</p>`,
      run: async () => {
        const body = minor === null ? {} : { price_minor: minor };
        const path = `/staff/orders/${encodeURIComponent(order.id)}/refunds`;
        onGiven(await post(path, body, { idempotencyKey: key }));
        toast(t("staff.refunds.done"), "good");
      },
    });
  };
  const part = (/** @type {string} */ text) => {
    const minor = minorFromText(text);
    if (minor === null || minor > most) return false;
    void ask(minor);
    return true;
  };
  return html`<p class="small">
      ${t("staff.orders.possible", { amount: money(most, order.currency), credits: credits(shown.refundable_units) })}
    </p>
    <div class="staff-steps">
      <button type="button" class="button button-accent" onClick=${() => void ask(null)} data-testid="order-give-all">
        ${t("staff.refunds.all", { amount: money(most, order.currency) })}
      </button>
      <${WrittenStep}
        key=${shown.refunds.length}
        id=${`order-part-${order.id}`}
        label=${t("staff.orders.part_label", { currency: order.currency })}
        action=${t("staff.refunds.part")}
        wrong=${t("staff.refunds.part_wrong", { amount: money(most, order.currency) })}
        take=${part}
        testid="order-part-ask"
        fieldTestid="order-part"
        amount
      />
    </div>`;
}
