// The queue of refunds: the facts of each session, what its member says, and one decision for each.

import { html, useCallback, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get, post } from "../api.js";
import { has, t, tn } from "../i18n.js";
import { askFirst } from "../ui/confirm.js";
import { clock, credits, creditsText, dateTime, timeOfDay, unitsFromText } from "../ui/format.js";
import { Badge, EmptyState, ErrorState, Notice, Spinner } from "../ui/parts.js";
import { SessionLines } from "../ui/session-lines.js";
import { toast } from "../ui/toast.js";

/** How old an open queue may be; what a colleague decided meanwhile is refused in any case. */
const REFRESH_MS = 20_000;
const LISTS = ["requested", "decided"];

/**
 * @typedef {{ session: string, state: string, member: string, expert: string, charged_units: number,
 *   granted_units: number, complaint: string, requested_at_ms: number, own?: boolean,
 *   decided_at_ms?: number, decided_by?: string,
 *   facts: { started_at_ms: number, ended_at_ms: number, reason: string, held_ms: number, open_ms: number,
 *     lines: import("../ui/session-lines.js").Line[] },
 *   past: { requested: number, approved: number, granted_units: number } }} Item
 */

export function StaffRefunds() {
  const [list, setList] = useState(LISTS[0]);
  const [found, setFound] = useState(/** @type {{ refunds: Item[], more: boolean } | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  const load = useCallback(() => {
    let here = true;
    get(`/staff/refunds?state=${list}`).then(
      (answer) => {
        if (!here) return;
        setFound(answer);
        setError(null);
      },
      (reason) => here && setError(errorText(reason)),
    );
    return () => {
      here = false;
    };
  }, [list]);
  // A request that was decided goes, and the focus would go with it.
  useEffect(() => {
    if (found && document.activeElement === document.body) heading.current?.focus();
  }, [found]);
  useEffect(() => {
    setFound(null);
    const forget = load();
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") load();
    }, REFRESH_MS);
    return () => {
      forget();
      clearInterval(timer);
    };
  }, [load]);
  return html`<section class="staff-refunds" aria-labelledby="staff-refunds-title">
    <div class="staff-head">
      <h2 id="staff-refunds-title" tabindex="-1" ref=${heading}>${t("staff.refunds.title")}</h2>
      <div class="row" role="group" aria-label=${t("staff.refunds.lists")}>
        ${LISTS.map(
          (name) => html`<button
            key=${name}
            type="button"
            class="chip"
            aria-pressed=${name === list ? "true" : "false"}
            onClick=${() => setList(name)}
            data-testid=${`refunds-${name}`}
          >
            ${t(`staff.refunds.list.${name}`)}
          </button>`,
        )}
      </div>
    </div>
    ${error && html`<${ErrorState} text=${error} onRetry=${load} />`}
    ${!found && !error && html`<div class="panel tx-loading"><${Spinner} /></div>`}
    ${found?.refunds.length === 0 &&
    html`<div class="panel" data-testid="refunds-empty">
      <${EmptyState} icon="check" heading="h3" title=${t(`staff.refunds.empty.${list}`)} />
    </div>`}
    ${found?.refunds.map((item) => html`<${Request} key=${item.session} item=${item} onDecided=${load} />`)}
    ${found?.more && html`<p class="muted small">${t(`staff.refunds.more.${list}`)}</p>`}
  </section>`;
}

/** @param {{ item: Item, onDecided: () => void }} props */
function Request({ item, onDecided }) {
  const title = `refund-${item.session}`;
  return html`<article class="panel refund-item" aria-labelledby=${title} data-testid="refund-item" data-session=${item.session} data-state=${item.state}>
    <div class="refund-head">
      <h3 id=${title}>${t("staff.refunds.who", { member: item.member, expert: item.expert })}</h3>
      <strong class="numbers" data-testid="refund-charged" data-units=${item.charged_units}>${creditsText(item.charged_units)}</strong>
    </div>
    <blockquote class="refund-complaint" data-testid="refund-complaint">${item.complaint}</blockquote>
    <${SessionLines} lines=${item.facts.lines} total=${item.charged_units} />
    <${Facts} item=${item} />
    ${item.state === "requested" ? html`<${Decide} item=${item} onDecided=${onDecided} />` : html`<${Decided} item=${item} />`}
  </article>`;
}

/** @param {{ item: Item }} props */
function Facts({ item }) {
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
  return html`<dl class="facts refund-facts">
    ${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd class="numbers">${value}</dd></div>`)}
  </dl>`;
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
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  if (item.own) return html`<${Notice} kind="info" testid="refund-own">${t("staff.refunds.own")}<//>`;
  const input = `part-${item.session}`;
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
  const part = (/** @type {Event} */ event) => {
    event.preventDefault();
    const units = unitsFromText(text);
    const usable = units !== null && units <= item.charged_units;
    setWrong(!usable);
    if (usable) void ask(units);
  };
  return html`<div class="refund-actions">
    <button type="button" class="button button-accent" onClick=${() => void ask(item.charged_units)} data-testid="refund-full">
      ${t("staff.refunds.all", { amount: credits(item.charged_units) })}
    </button>
    <form class="refund-part" onSubmit=${part} noValidate>
      <label for=${input}>${t("staff.refunds.part_label")}</label>
      <input
        id=${input}
        class="input numbers"
        inputmode="decimal"
        autocomplete="off"
        value=${text}
        aria-invalid=${wrong ? "true" : undefined}
        aria-describedby=${wrong ? `${input}-note` : undefined}
        onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
        data-testid="refund-part"
      />
      <button type="submit" class="button" data-testid="refund-part-ask">${t("staff.refunds.part")}</button>
      ${wrong && html`<p id=${`${input}-note`} class="field-error" role="alert">${t("staff.refunds.part_wrong", { amount: credits(item.charged_units) })}</p>`}
    </form>
    <button type="button" class="button button-outline" onClick=${() => void ask(0)} data-testid="refund-deny">
      ${t("staff.refunds.deny")}
    </button>
  </div>`;
}
