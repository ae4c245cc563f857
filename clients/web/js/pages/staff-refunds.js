// The queue of refunds: the facts of each session, what its member says, and one decision for each.

import { html } from "../../vendor/preact-htm.js";
import { post } from "../api.js";
import { has, t, tn } from "../i18n.js";
import { askFirst } from "../ui/confirm.js";
import { clock, credits, creditsText, dateTime, timeOfDay, unitsFromText } from "../ui/format.js";
import { Badge, Facts, Notice } from "../ui/parts.js";
import { SessionLines } from "../ui/session-lines.js";
import { toast } from "../ui/toast.js";
import { StaffList } from "./staff-list.js";
import { WrittenStep } from "./staff-step.js";

/**
 * @typedef {{ session: string, state: string, member: string, expert: string, charged_units: number,
 *   granted_units: number, complaint: string, requested_at_ms: number, own?: boolean,
 *   decided_at_ms?: number, decided_by?: string,
 *   facts: { started_at_ms: number, ended_at_ms: number, reason: string, held_ms: number, open_ms: number,
 *     lines: import("../ui/session-lines.js").Line[] },
 *   past: { requested: number, approved: number, granted_units: number } }} Item
 */

export function StaffRefunds() {
  return html`<${StaffList}
    name="refunds"
    parts=${["requested", "decided"]}
    line=${(/** @type {Item} */ item, /** @type {unknown} */ _answer, /** @type {() => void} */ done) =>
      html`<${Request} key=${item.session} item=${item} onDecided=${done} />`}
  />`;
}

/** @param {{ item: Item, onDecided: () => void }} props */
function Request({ item, onDecided }) {
  const title = `refund-${item.session}`;
  return html`<article class="panel staff-item" aria-labelledby=${title} data-testid="refund-item" data-session=${item.session} data-state=${item.state}>
    <div class="staff-item-head">
      <h3 id=${title}>${t("staff.refunds.who", { member: item.member, expert: item.expert })}</h3>
      <strong class="numbers" data-testid="refund-charged" data-units=${item.charged_units}>${creditsText(item.charged_units)}</strong>
    </div>
    <blockquote class="staff-complaint" data-testid="refund-complaint">${item.complaint}</blockquote>
    <${SessionLines} lines=${item.facts.lines} total=${item.charged_units} />
    <${SessionFacts} item=${item} />
    ${item.state === "requested" ? html`<${Decide} item=${item} onDecided=${onDecided} />` : html`<${Decided} item=${item} />`}
  </article>`;
}

/** @param {{ item: Item }} props */
function SessionFacts({ item }) {
  const { facts, past } = item;
  const lost = facts.open_ms - facts.held_ms;
  const end = `staff.end.${facts.reason}`;
  const rows = [
    [t("staff.refunds.session"), `${dateTime(facts.started_at_ms)} – ${timeOfDay(facts.ended_at_ms)}`],
    [t("staff.refunds.ended"), t(has(end) ? end : "staff.end.other")],
    [
      t("staff.refunds.media"),
      t(lost >= 1_000 ? "staff.refunds.media_of" : "staff.refunds.media_all", {
        held: clock(facts.held_ms),
        lost: clock(lost),
      }),
    ],
    [t("staff.refunds.asked"), dateTime(item.requested_at_ms)],
    [
      t("staff.refunds.past"),
      past.requested === 1
        ? t("staff.refunds.first")
        : tn("staff.refunds.past_text", past.requested, { approved: past.approved, amount: credits(past.granted_units) }),
    ],
    [t("staff.refunds.id"), html`<span class="order-id">${item.session}</span>`],
  ];
  return html`<${Facts} rows=${rows} />`;
}

/** @param {{ item: Item }} props */
function Decided({ item }) {
  return html`<p class="row" data-testid="refund-decided" data-units=${item.granted_units}>
    <${Badge} kind=${item.granted_units ? "live" : "warn"}>
      ${item.granted_units ? t("staff.refunds.gave", { amount: credits(item.granted_units) }) : t("staff.refunds.gave_nothing")}
    <//>
    <span class="muted small">
      ${t("staff.refunds.decided_by", { name: item.decided_by ?? "", time: dateTime(item.decided_at_ms ?? 0) })}
    </span>
  </p>`;
}

/** @param {{ item: Item, onDecided: () => void }} props */
function Decide({ item, onDecided }) {
  if (item.own) return html`<${Notice} kind="info" testid="refund-own">${t("staff.refunds.own")}<//>`;
  const decide = async (/** @type {number} */ units) => {
    await post(`/staff/refunds/${encodeURIComponent(item.session)}`, { granted_units: units });
    toast(t("staff.refunds.done"), "good");
    onDecided();
  };
  const ask = (/** @type {number} */ units) =>
    askFirst({
      title: units ? t("staff.refunds.approve_title", { amount: credits(units) }) : t("staff.refunds.deny_title"),
      testid: "refund-confirm",
      kind: units ? "accent" : "bad",
      action: t(units ? "staff.refunds.approve" : "staff.refunds.deny"),
      content: html`<p>
        ${units
          ? t("staff.refunds.approve_text", { member: item.member, expert: item.expert, amount: credits(units) })
          : t("staff.refunds.deny_text", { member: item.member })}
      </p>`,
      run: () => decide(units),
    });
  const part = (/** @type {string} */ text) => {
    const units = unitsFromText(text);
    if (units === null || units > item.charged_units) return false;
    void ask(units);
    return true;
  };
  return html`<div class="staff-steps">
    <button type="button" class="button button-accent" onClick=${() => void ask(item.charged_units)} data-testid="refund-full">
      ${t("staff.refunds.all", { amount: credits(item.charged_units) })}
    </button>
    <${WrittenStep}
      id=${`part-${item.session}`}
      label=${t("staff.refunds.part_label")}
      action=${t("staff.refunds.part")}
      wrong=${t("staff.refunds.part_wrong", { amount: credits(item.charged_units) })}
      take=${part}
      testid="refund-part-ask"
      fieldTestid="refund-part"
      amount
    />
    <button type="button" class="button button-outline" onClick=${() => void ask(0)} data-testid="refund-deny">
      ${t("staff.refunds.deny")}
    </button>
  </div>`;
}
