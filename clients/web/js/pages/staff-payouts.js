// The queue of payouts: what experts ask for, the account to pay to, one step at a time.

import { html } from "../../vendor/preact-htm.js";
import { post } from "../api.js";
import { t } from "../i18n.js";
import { askFirst } from "../ui/confirm.js";
import { creditsText, dateTime, money } from "../ui/format.js";
import { Badge, Facts, Notice } from "../ui/parts.js";
import { payoutBadge } from "../ui/payout-badge.js";
import { toast } from "../ui/toast.js";
import { StaffList } from "./staff-list.js";
import { WrittenStep } from "./staff-step.js";

/**
 * @typedef {{ id: string, state: string, expert: string, units: number, amount_minor: number, currency: string,
 *   holder: string, iban: string, requested_at_ms: number, own?: boolean, manual?: boolean,
 *   decided_at_ms?: number, decided_by?: string, closed_at_ms?: number, closed_by?: string,
 *   returned_at_ms?: number, returned_by?: string, reference?: string, reason?: string }} Item
 * @typedef {{ do: string, reference?: string, reason?: string }} Step
 * @typedef {{ item: Item, provider: boolean, onDone: () => void }} Props
 */

export function StaffPayouts() {
  return html`<${StaffList}
    name="payouts"
    parts=${["open", "closed"]}
    line=${(/** @type {Item} */ item, /** @type {{ provider: boolean }} */ { provider }, /** @type {() => void} */ done) =>
      html`<${One} key=${item.id} item=${item} provider=${provider} onDone=${done} />`}
  />`;
}

/** @param {Props} props */
function One({ item, provider, onDone }) {
  const title = `payout-${item.id}`;
  return html`<article class="panel staff-item" aria-labelledby=${title} data-testid="payout-item" data-payout=${item.id} data-state=${item.state}>
    <div class="staff-item-head">
      <h3 id=${title}>${item.expert}</h3>
      <strong class="numbers">${money(item.amount_minor, item.currency)}</strong>
    </div>
    <p class="row"><${Badge} kind=${payoutBadge(item.state)}>${t(`staff.payouts.state.${item.state}`)}<//></p>
    <${PayoutFacts} item=${item} />
    <${Steps} item=${item} provider=${provider} onDone=${onDone} />
  </article>`;
}

/** @param {{ item: Item }} props */
function PayoutFacts({ item }) {
  const by = (/** @type {string | undefined} */ name, /** @type {number | undefined} */ atMs) =>
    t("staff.payouts.by", { name: name ?? "", time: dateTime(atMs ?? 0) });
  const rows = [
    [t("staff.payouts.credits"), creditsText(item.units)],
    [t("staff.payouts.asked"), dateTime(item.requested_at_ms)],
    [t("staff.payouts.holder"), item.holder],
    [t("staff.payouts.iban"), html`<span class="order-id" data-testid="payout-iban">${item.iban}</span>`],
    ...(item.decided_by ? [[t("staff.payouts.decided"), by(item.decided_by, item.decided_at_ms)]] : []),
    ...(item.closed_at_ms ? [[t("staff.payouts.closed"), by(item.closed_by, item.closed_at_ms)]] : []),
    ...(item.returned_at_ms ? [[t("staff.payouts.sent_back"), by(item.returned_by, item.returned_at_ms)]] : []),
    ...(item.reference ? [[t("staff.payouts.reference"), item.reference]] : []),
    ...(item.reason ? [[t("staff.payouts.reason"), item.reason]] : []),
    [t("staff.payouts.id"), html`<span class="order-id">${item.id}</span>`],
  ];
  return html`<${Facts} rows=${rows} />`;
}

/** @param {Props} props */
function Steps({ item, provider, onDone }) {
  if (item.own && ["requested", "approved", "paid"].includes(item.state)) {
    return html`<${Notice} kind="info" testid="payout-own">${t("staff.payouts.own")}<//>`;
  }
  const take = async (/** @type {Step} */ step) => {
    await post(`/staff/payouts/${encodeURIComponent(item.id)}`, step);
    toast(t("staff.payouts.done"), "good");
    onDone();
  };
  switch (item.state) {
    case "requested":
      return html`<div class="staff-steps">
        <${Approve} item=${item} provider=${provider} take=${take} />
        <${Written} item=${item} name="deny" field="reason" optional take=${take} />
      </div>`;
    case "approved":
      if (!item.manual) return html`<p class="muted small">${t("staff.payouts.with_provider")}</p>`;
      return html`<div class="staff-steps">
        <${Written} item=${item} name="paid" field="reference" take=${take} />
        <${Written} item=${item} name="failed" field="reason" take=${take} />
      </div>`;
    case "paid":
      return html`<div class="staff-steps">
        <${Written} item=${item} name="returned" field="reason" take=${take} />
      </div>`;
    default:
      return null;
  }
}

/** @param {{ item: Item, provider: boolean, take: (step: Step) => Promise<void> }} props */
function Approve({ item, provider, take }) {
  const amount = money(item.amount_minor, item.currency);
  const ask = (/** @type {string} */ step) =>
    askFirst({
      title: t("staff.payouts.approve_title", { amount }),
      testid: "payout-confirm",
      action: t(`staff.payouts.${step}`),
      content: html`<p>${t(`staff.payouts.${step}_text`, { amount, expert: item.expert, holder: item.holder, iban: item.iban })}</p>`,
      run: () => take({ do: step }),
    });
  const steps = provider ? ["approve", "approve_manual"] : ["approve_manual"];
  return steps.map(
    (step, n) => html`<button key=${step} type="button" class=${`button ${n === 0 ? "button-accent" : ""}`} onClick=${() => void ask(step)} data-testid=${`payout-${step}`}>
      ${t(`staff.payouts.${step}`)}
    </button>`,
  );
}

/**
 * A step that needs a word: the bank's reference, or a reason.
 * @param {{ item: Item, name: string, field: "reference" | "reason", optional?: boolean,
 *   take: (step: Step) => Promise<void> }} props
 */
function Written({ item, name, field, optional = false, take }) {
  const amount = money(item.amount_minor, item.currency);
  const ask = (/** @type {string} */ written) => {
    if (!written && !optional) return false;
    void askFirst({
      title: t(`staff.payouts.${name}_title`, { amount }),
      testid: "payout-confirm",
      kind: name === "paid" ? "accent" : "bad",
      action: t(`staff.payouts.${name}`),
      content: html`<p>${t(`staff.payouts.${name}_text`, { amount, expert: item.expert })}</p>`,
      run: () => take({ do: name, ...(written ? { [field]: written } : {}) }),
    });
    return true;
  };
  return html`<${WrittenStep}
    id=${`${name}-${item.id}`}
    label=${t(`staff.payouts.${name}_${field}`)}
    action=${t(`staff.payouts.${name}`)}
    wrong=${t(`staff.payouts.${field}_wrong`)}
    take=${ask}
    look=${name === "paid" ? "button-accent" : "button-outline"}
    testid=${`payout-${name}`}
    fieldTestid=${`payout-${name}-${field}`}
  />`;
}
