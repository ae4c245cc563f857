// What a member bought of experts on the staff page, and giving a purchase back: all of it or a part.

import { html, useState } from "../../vendor/preact-htm.js";
import { errorText, get, post } from "../api.js";
import { t } from "../i18n.js";
import { askFirst } from "../ui/confirm.js";
import { credits, creditsText, dateTime, unitsFromText } from "../ui/format.js";
import { titleOf } from "../ui/movement-title.js";
import { Badge, EmptyState, Facts, Notice } from "../ui/parts.js";
import { toast } from "../ui/toast.js";
import { StaffSearch } from "./staff-search.js";
import { WrittenStep } from "./staff-step.js";

/**
 * @typedef {{ purchase: number, feature: string, member: string, expert: string, object: string,
 *   units: number, at_ms: number, access_until_ms?: number, own?: boolean, replied_at_ms?: number,
 *   refunded_units?: number, refunded_at_ms?: number, refunded_by?: string, reason?: string }} Bought
 * @typedef {{ member: string, purchases: Bought[], next: number | null }} Found
 */

export function StaffPurchases() {
  const [found, setFound] = useState(/** @type {Found | null} */ (null));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const ask = (/** @type {string} */ member, before = "") =>
    get(`/staff/purchases?member=${encodeURIComponent(member)}${before}`);
  const look = async (/** @type {string} */ member) => {
    const { purchases, next } = await ask(member);
    setFound({ member, purchases, next });
    setProblem("");
  };
  const more = async (/** @type {Found} */ known) => {
    setBusy(true);
    try {
      const { purchases, next } = await ask(known.member, `&before=${known.next}`);
      setFound({ ...known, purchases: [...known.purchases, ...purchases], next });
      setProblem("");
    } catch (error) {
      setProblem(errorText(error));
    }
    setBusy(false);
  };
  return html`<section class="staff-section" aria-labelledby="staff-purchases-title">
    <h2 id="staff-purchases-title">${t("staff.purchases.title")}</h2>
    <${StaffSearch} name="purchases" look=${look} onGone=${() => setFound(null)} />
    ${found?.purchases.length === 0 &&
    html`<div class="panel"><${EmptyState} icon="receipt" heading="h3" title=${t("staff.purchases.none", { name: found.member })} /></div>`}
    ${found &&
    found.purchases.length > 0 &&
    html`<ul class="panel receipt-list" data-testid="staff-purchases">
      ${found.purchases.map((bought) => html`<${Line} key=${bought.purchase} bought=${bought} />`)}
    </ul>`}
    ${problem && html`<${Notice} kind="bad" alert>${problem}<//>`}
    ${found &&
    found.next !== null &&
    html`<button type="button" class="button" disabled=${busy} onClick=${() => more(found)} data-testid="purchases-more">
      ${t("tx.more")}
    </button>`}
  </section>`;
}

/** @param {{ bought: Bought }} props */
function Line({ bought: asFound }) {
  const [bought, setBought] = useState(asFound);
  const [open, setOpen] = useState(false);
  const { purchase, refunded_units: back = 0 } = bought;
  const details = `purchase-${purchase}`;
  return html`<li class="receipt-line" data-testid="staff-purchase" data-purchase=${purchase} data-back=${back}>
    <span class="receipt-what">
      <span>${titleOf({ kind: bought.feature, expert: bought.expert })}</span>
      <span class="muted small">${dateTime(bought.at_ms)}</span>
      ${back > 0 && html`<${Badge} kind="warn">${t("staff.refunds.gave", { amount: credits(back) })}<//>`}
    </span>
    <span class="numbers">${creditsText(bought.units)}</span>
    <button
      type="button"
      class="button button-quiet"
      aria-expanded=${open ? "true" : "false"}
      aria-controls=${details}
      onClick=${() => setOpen(!open)}
      data-testid="staff-purchase-open"
    >
      ${t("tx.details")}<span class="visually-hidden"> ${purchase}</span>
    </button>
    <div id=${details} class="staff-order" hidden=${!open}>
      ${open && html`<${Details} bought=${bought} onGiven=${setBought} />`}
    </div>
  </li>`;
}

/** @param {{ bought: Bought, onGiven: (now: Bought) => void }} props */
function Details({ bought, onGiven }) {
  const rows = [
    ...(bought.feature === "story" ? [] : [[t("staff.purchases.object"), html`<span class="order-id">${bought.object}</span>`]]),
    ...(bought.access_until_ms ? [[t("staff.purchases.access"), dateTime(bought.access_until_ms)]] : []),
    ...(bought.replied_at_ms ? [[t("staff.purchases.replied"), dateTime(bought.replied_at_ms)]] : []),
    ...(bought.refunded_at_ms
      ? [
          [
            t("staff.purchases.given"),
            t("staff.refunds.decided_by", { name: bought.refunded_by ?? "", time: dateTime(bought.refunded_at_ms) }),
          ],
        ]
      : []),
    ...(bought.reason ? [[t("staff.purchases.reason"), bought.reason]] : []),
    [t("staff.purchases.id"), html`<span class="order-id">${bought.purchase}</span>`],
  ];
  return html`<${Facts} rows=${rows} />
    ${bought.own
      ? html`<${Notice} kind="info" testid="purchase-own">${t("error.own_purchase")}<//>`
      : !bought.refunded_at_ms && html`<${GiveBack} bought=${bought} onGiven=${onGiven} />`}`;
}

/** @param {{ bought: Bought, onGiven: (now: Bought) => void }} props */
function GiveBack({ bought, onGiven }) {
  const [reason, setReason] = useState("");
  const { purchase, units: most, member, expert } = bought;
  const ask = (/** @type {number | null} */ units) => {
    const amount = credits(units ?? most);
    const ends = units === null && bought.access_until_ms;
    const why = reason.trim();
    return askFirst({
      title: t("staff.refunds.approve_title", { amount }),
      testid: "purchase-refund-confirm",
      action: t("staff.refunds.approve"),
      content: html`<p>${t("staff.refunds.approve_text", { member, expert, amount })}</p>
        ${ends && html`<p>${t("staff.purchases.ends", { member })}</p>`}
        ${why && html`<blockquote class="staff-complaint">${why}</blockquote>`}`,
      run: async () => {
        const body = { ...(units === null ? {} : { granted_units: units }), ...(why ? { reason: why } : {}) };
        onGiven(await post(`/staff/purchases/${purchase}/refund`, body));
        toast(t("staff.refunds.done"), "good");
      },
    });
  };
  const part = (/** @type {string} */ text) => {
    const units = unitsFromText(text);
    if (units === null || units > most) return false;
    void ask(units === most ? null : units);
    return true;
  };
  const field = `purchase-reason-${purchase}`;
  return html`<div class="staff-reason">
      <label for=${field}>${t("staff.purchases.reason_label")}</label>
      <input
        id=${field}
        class="input"
        autocomplete="off"
        maxlength="120"
        value=${reason}
        onInput=${(/** @type {any} */ event) => setReason(event.currentTarget.value)}
        data-testid="purchase-reason"
      />
    </div>
    <div class="staff-steps">
      <button type="button" class="button button-accent" onClick=${() => void ask(null)} data-testid="purchase-give-all">
        ${t("staff.refunds.all", { amount: credits(most) })}
      </button>
      <${WrittenStep}
        id=${`purchase-part-${purchase}`}
        label=${t("staff.refunds.part_label")}
        action=${t("staff.refunds.part")}
        wrong=${t("staff.refunds.part_wrong", { amount: credits(most) })}
        take=${part}
        testid="purchase-part-ask"
        fieldTestid="purchase-part"
        amount
      />
    </div>`;
}
