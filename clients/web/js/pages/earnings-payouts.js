// Payouts, as the expert sees them: what is available, the bank account, asking, what became of it.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { ApiError, errorText, get, newKey, post, put } from "../api.js";
import { t } from "../i18n.js";
import { askFirst } from "../ui/confirm.js";
import { Field, focusFirstError } from "../ui/form.js";
import { credits, creditsText, dateTime, money } from "../ui/format.js";
import { Badge, ErrorState, Notice, Spinner } from "../ui/parts.js";
import { payoutBadge } from "../ui/payout-badge.js";
import { toast } from "../ui/toast.js";

const UNITS_PER_CREDIT = 6_000;

/**
 * @typedef {{ available_units: number, pending_units: number, in_payout_units: number, owed_units: number }} Now
 * @typedef {{ holder: string, iban: string }} Destination
 * @typedef {{ id: string, state: string, units: number, amount_minor: number, currency: string, holder: string,
 *   iban: string, requested_at_ms: number, decided_at_ms?: number, closed_at_ms?: number,
 *   returned_at_ms?: number, reference?: string, reason?: string }} Payout
 * @typedef {{ now: Now, minimum_units: number, minor_per_credit: number, currency: string,
 *   destination: Destination | null, payouts: Payout[] }} Payouts
 * @typedef {{ loaded: ReturnType<typeof usePayouts>, onChanged: () => void }} Props
 */

/** @param {number} version a new version fetches anew */
export function usePayouts(version) {
  const [found, setFound] = useState(/** @type {Payouts | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const load = () => {
    setError(null);
    get("/payouts").then(setFound, (reason) => setError(errorText(reason)));
  };
  useEffect(load, [version]);
  return { found, error, load };
}

/** @param {Props} props */
export function EarnedPanel({ loaded, onChanged }) {
  const { found, error, load } = loaded;
  if (error) return html`<section class="panel wallet-balance"><${ErrorState} text=${error} onRetry=${load} /></section>`;
  const now = found?.now;
  const rows = now ? [["pending", now.pending_units], ["in_payout", now.in_payout_units]] : [];
  return html`<section class="panel wallet-balance" aria-labelledby="earned-title">
    <h2 id="earned-title">${t("payouts.available")}</h2>
    <p class="balance-big numbers" data-testid=${now && "earned-available"} data-units=${now?.available_units}>
      ${now
        ? html`<strong>${credits(now.available_units)}</strong> <span>${t("money.unit")}</span>`
        : html`<span class="skeleton-text" aria-hidden="true"></span>`}
    </p>
    <dl class="facts">
      ${rows.map(
        ([name, units]) => html`<div key=${name}>
          <dt>${t(`payouts.${name}`)}</dt>
          <dd class="numbers" data-testid=${`earned-${name}`} data-units=${units}>${credits(/** @type {number} */ (units))}</dd>
        </div>`,
      )}
    </dl>
    <p class="faint small">${t("payouts.pending_note")}</p>
    ${now !== undefined &&
    now.owed_units > 0 &&
    html`<${Notice} kind="warn" testid="earned-owed">${t("payouts.owed", { amount: credits(now.owed_units) })}<//>`}
    ${found && html`<${Ask} found=${found} onChanged=${onChanged} />`}
  </section>`;
}

/** @param {{ found: Payouts, onChanged: () => void }} props */
function Ask({ found, onChanged }) {
  const { now, minimum_units: minimum, minor_per_credit: minor, currency, destination, payouts } = found;
  const open = payouts.find((payout) => payout.closed_at_ms === undefined);
  if (open) return html`<${Notice} kind="info" testid="payout-open">${t("payouts.one_at_a_time")}<//>`;
  if (now.available_units < minimum) {
    return html`<p class="muted small" data-testid="payout-minimum">${t("payouts.minimum", { amount: creditsText(minimum) })}</p>`;
  }
  if (!destination) return html`<p class="muted small" data-testid="payout-account-first">${t("payouts.account_first")}</p>`;
  // Whole cents, as the server counts them; the rest stays.
  const cents = Math.floor((now.available_units * minor) / UNITS_PER_CREDIT);
  const amount = money(cents, currency);
  const ask = () => {
    const key = newKey(); // the same for every try of this dialog
    return askFirst({
      title: t("payouts.ask_title", { amount }),
      testid: "payout-confirm",
      action: t("payouts.ask"),
      content: html`<p>${t("payouts.ask_text", { amount, holder: destination.holder, iban: destination.iban })}</p>`,
      run: async () => {
        await post("/payouts", { units: now.available_units }, { idempotencyKey: key });
        toast(t("payouts.asked"), "good");
        onChanged();
      },
    });
  };
  return html`<button type="button" class="button button-accent" onClick=${() => void ask()} data-testid="payout-ask">
    ${t("payouts.ask_amount", { amount })}
  </button>`;
}

/** @param {Props} props */
export function PayoutsPanel({ loaded, onChanged }) {
  const { found, error } = loaded; // the panel above tells of an error
  return html`<section class="panel wallet-limits" aria-labelledby="payouts-title">
    <h2 id="payouts-title">${t("payouts.title")}</h2>
    ${!found && !error && html`<${Spinner} />`}
    ${found && html`<${Account} destination=${found.destination} onChanged=${onChanged} />`}
    ${found &&
    found.payouts.length > 0 &&
    html`<ul class="payout-list" data-testid="payouts">
      ${found.payouts.map((payout) => html`<${Line} key=${payout.id} payout=${payout} onChanged=${onChanged} />`)}
    </ul>`}
  </section>`;
}

/** @param {{ destination: Destination | null, onChanged: () => void }} props */
function Account({ destination, onChanged }) {
  const [open, setOpen] = useState(false);
  const [kept, setKept] = useState(/** @type {Destination | null} */ (null));
  useEffect(() => setKept(null), [destination]); // the list has come anew
  const shown = kept ?? destination;
  return html`<div class="payout-account">
    <div class="payout-account-head">
      <span class="payout-what">
        <span class="muted small">${t("payouts.account")}</span>
        <span data-testid="payout-account">
          ${shown ? `${shown.holder}, ${shown.iban}` : t("payouts.no_account")}
        </span>
      </span>
      <button type="button" class="link-button" aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)} data-testid="payout-account-change">
        ${t(open ? "action.cancel" : shown ? "payouts.account_change" : "payouts.account_add")}
      </button>
    </div>
    ${open &&
    html`<${AccountForm}
      onKept=${(/** @type {Destination} */ answer) => {
        setKept(answer);
        setOpen(false);
        onChanged();
      }}
    />`}
  </div>`;
}

/** @param {{ onKept: (kept: Destination) => void }} props */
function AccountForm({ onKept }) {
  const [holder, setHolder] = useState("");
  const [iban, setIban] = useState("");
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [busy, setBusy] = useState(false);
  const keep = async (/** @type {any} */ event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const empty = {
      ...(holder.trim() ? {} : { holder: t("payouts.holder_wrong") }),
      ...(iban.trim() ? {} : { iban: t("payouts.iban_wrong") }),
    };
    setWrong(empty);
    if (Object.keys(empty).length === 0) {
      setBusy(true);
      try {
        const kept = await put("/payouts/destination", { holder, iban });
        toast(t("payouts.account_kept"), "good");
        onKept(kept);
        return;
      } catch (error) {
        const theirs = error instanceof ApiError && error.code === "bad_account";
        setWrong(theirs ? { iban: t("payouts.iban_wrong") } : { form: errorText(error) });
        setBusy(false);
      }
    }
    requestAnimationFrame(() => focusFirstError(form));
  };
  return html`<form class="payout-form" onSubmit=${keep} noValidate>
    <${Field} name="payout-holder" label=${t("payouts.holder")} value=${holder} onInput=${setHolder} error=${wrong.holder} autocomplete="name" maxlength=${70} />
    <${Field} name="payout-iban" label=${t("payouts.iban")} value=${iban} onInput=${setIban} error=${wrong.iban} hint=${t("payouts.iban_hint")} autocomplete="off" maxlength=${64} />
    ${wrong.form && html`<${Notice} kind="bad" alert>${wrong.form}<//>`}
    <button type="submit" class="button button-accent" disabled=${busy} data-testid="payout-account-keep">${t("payouts.account_keep")}</button>
  </form>`;
}

/** @param {{ payout: Payout, onChanged: () => void }} props */
function Line({ payout, onChanged }) {
  const amount = money(payout.amount_minor, payout.currency);
  const cancel = () =>
    askFirst({
      title: t("payouts.cancel_title", { amount }),
      testid: "payout-cancel-confirm",
      kind: "bad",
      action: t("payouts.cancel"),
      content: html`<p>${t("payouts.cancel_text")}</p>`,
      run: async () => {
        await post(`/payouts/${encodeURIComponent(payout.id)}/cancel`);
        onChanged();
      },
    });
  const ended = payout.returned_at_ms ?? payout.closed_at_ms;
  return html`<li data-testid="payout" data-state=${payout.state} data-units=${payout.units}>
    <span class="payout-what">
      <span class="row">
        <strong class="numbers">${amount}</strong>
        <${Badge} kind=${payoutBadge(payout.state)}>${t(`payouts.state.${payout.state}`)}<//>
      </span>
      <span class="muted small">
        ${t("payouts.asked_at", { time: dateTime(payout.requested_at_ms) })}
        ${ended !== undefined && html` · ${t("payouts.ended_at", { time: dateTime(ended) })}`}
      </span>
      <span class="muted small">${payout.holder}, ${payout.iban}</span>
      ${payout.reference && html`<span class="muted small">${t("payouts.reference", { reference: payout.reference })}</span>`}
      ${payout.reason && html`<span class="small">${payout.reason}</span>`}
    </span>
    ${payout.state === "requested" &&
    html`<button type="button" class="link-button" onClick=${() => void cancel()} data-testid="payout-cancel">
      ${t("payouts.cancel")}<span class="visually-hidden">: ${amount}</span>
    </button>`}
  </li>`;
}
