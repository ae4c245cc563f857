// Spend limits in the wallet: what a member allows themselves, what is used of it, raises, breaks.

import { html, useCallback, useEffect, useState } from "../../vendor/preact-htm.js";
import { errorText, get, post, put } from "../api.js";
import { t } from "../i18n.js";
import { credits, creditsText, dateTime, unitsFromText } from "../ui/format.js";
import { openDialog } from "../ui/dialog.js";
import { Notice } from "../ui/parts.js";
import { toast } from "../ui/toast.js";

const BREAK_DAYS = [1, 7, 30];

/**
 * @typedef {{ span: string, units: number | null, used_units?: number, left_units?: number,
 *   resets_at_ms?: number, pending?: { units: number | null, at_ms: number } }} Limit
 * @typedef {{ limits: Limit[], time_zone: string, break_until_ms: number | null }} Limits
 */

const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** The limits; a zone that the server does not know is left out. */
async function load() {
  try {
    return await get(`/wallet/limits?time_zone=${encodeURIComponent(ownZone())}`);
  } catch (/** @type {any} */ error) {
    if (error.code !== "unknown_time_zone") throw error;
    return get("/wallet/limits");
  }
}

/**
 * The zone goes along with the first limit only; then it is fixed.
 * @param {Limits} shown
 * @param {Limit} limit
 * @param {number | null} units
 */
function save(shown, limit, units) {
  const first = shown.limits.every((one) => one.units === null);
  return put(`/wallet/limits/${limit.span}`, { units, ...(first ? { time_zone: shown.time_zone } : {}) });
}

/** @param {{ version: number }} props which grows with every movement of the balance */
export function LimitsBox({ version }) {
  const [shown, setShown] = useState(/** @type {Limits | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const [open, setOpen] = useState(/** @type {string | null} */ (null));
  const take = useCallback((/** @type {Promise<Limits>} */ answer, /** @type {string} */ done = "") => {
    answer.then(
      (limits) => {
        setShown(limits);
        setError(null);
        setOpen(null);
        if (done) toast(done, "good");
      },
      (reason) => setError(errorText(reason)),
    );
  }, []);
  useEffect(() => {
    load().then(setShown, (reason) => setError(errorText(reason)));
  }, [version]);
  return html`<section class="panel wallet-limits" aria-labelledby="limits-title" data-testid="limits">
    <h2 id="limits-title">${t("limits.title")}</h2>
    <p class="muted small">${t("limits.text")}</p>
    ${error && html`<${Notice} kind="bad" alert testid="limits-error">${error}<//>`}
    ${shown?.limits.map(
      (limit) => html`<${OneLimit}
        key=${limit.span}
        limit=${limit}
        open=${open === limit.span}
        onOpen=${() => setOpen(open === limit.span ? null : limit.span)}
        onSave=${(/** @type {number | null} */ units) => take(save(shown, limit, units), t("limits.saved"))}
      />`,
    )}
    ${shown && html`<p class="faint small">${t("limits.zone", { zone: shown.time_zone })}</p>`}
    ${shown && html`<${Break} until=${shown.break_until_ms} onTake=${take} />`}
  </section>`;
}

/** @param {{ limit: Limit, open: boolean, onOpen: () => void, onSave: (units: number | null) => void }} props */
function OneLimit({ limit, open, onOpen, onSave }) {
  const { span, units, used_units: used, pending } = limit;
  const name = t(`limits.span.${span}`);
  return html`<div class="limit" role="group" aria-label=${name} data-testid=${`limit-${span}`}>
    <div class="limit-head">
      <span class="limit-name">${name}</span>
      <span class="numbers" data-testid=${`limit-${span}-units`} data-units=${units ?? ""}>
        ${units === null ? t("limits.none") : creditsText(units)}
      </span>
      <button type="button" class="link-button" aria-expanded=${open ? "true" : "false"} onClick=${onOpen} data-testid=${`limit-${span}-change`}>
        ${t(open ? "action.cancel" : units === null ? "limits.set" : "limits.change")}
        <span class="visually-hidden">: ${name}</span>
      </button>
    </div>
    ${used !== undefined &&
    html`${units !== null &&
      html`<progress class="limit-bar" max="1" value=${units > 0 ? Math.min(1, used / units) : 1} aria-label=${t("limits.used_bar", { name })} />`}
      <p class="small muted numbers">
        <span data-testid=${`limit-${span}-used`} data-units=${used}>${t("limits.used", { amount: credits(used) })}</span>
        ${limit.left_units !== undefined && html` · <span data-testid=${`limit-${span}-left`}>${t("limits.left", { amount: credits(limit.left_units) })}</span>`}
        ${units !== null && limit.resets_at_ms !== undefined && html` · ${t("limits.resets", { time: dateTime(limit.resets_at_ms) })}`}
      </p>`}
    ${pending &&
    html`<${Notice} kind="info" testid=${`limit-${span}-pending`}>
      <p>
        ${pending.units === null
          ? t("limits.pending_none", { time: dateTime(pending.at_ms) })
          : t("limits.pending", { amount: credits(pending.units), time: dateTime(pending.at_ms) })}
      </p>
      <button type="button" class="link-button" onClick=${() => onSave(units)} data-testid=${`limit-${span}-keep`}>
        ${t("limits.keep", { amount: credits(units ?? 0) })}
      </button>
    <//>`}
    ${open && html`<${LimitForm} limit=${limit} name=${name} onSave=${onSave} />`}
  </div>`;
}

/** @param {{ limit: Limit, name: string, onSave: (units: number | null) => void }} props */
function LimitForm({ limit, name, onSave }) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  const id = `limit-input-${limit.span}`;
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const units = unitsFromText(text);
    setWrong(units === null);
    if (units !== null) onSave(units);
  };
  return html`<form class="limit-form" onSubmit=${submit} noValidate>
    <div class="field">
      <label for=${id}>${t("limits.amount")}<span class="visually-hidden">: ${name}</span></label>
      <input
        id=${id}
        class="input numbers"
        inputmode="decimal"
        autocomplete="off"
        value=${text}
        aria-invalid=${wrong ? "true" : undefined}
        aria-describedby=${`${id}-note`}
        onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
        data-testid=${`limit-${limit.span}-input`}
      />
      <p id=${`${id}-note`} class=${wrong ? "field-error" : "field-hint"}>
        ${t(wrong ? "limits.wrong" : limit.units === null ? "limits.hint_first" : "limits.hint")}
      </p>
    </div>
    <div class="row">
      <button type="submit" class="button button-accent" data-testid=${`limit-${limit.span}-save`}>${t("limits.save")}</button>
      ${limit.units !== null &&
      html`<button type="button" class="button button-quiet" onClick=${() => onSave(null)} data-testid=${`limit-${limit.span}-remove`}>
        ${t("limits.remove")}
      </button>`}
    </div>
  </form>`;
}

/** @param {{ until: number | null, onTake: (answer: Promise<Limits>, done: string) => void }} props */
function Break({ until, onTake }) {
  const [days, setDays] = useState(1);
  const ask = () =>
    openDialog({
      title: t("break.confirm_title"),
      testid: "break-dialog",
      content: (close) => html`<div class="stack">
        <p>${t("break.confirm_text", { length: t(`break.days.${days}`) })}</p>
        <div class="dialog-actions">
          <button type="button" class="button button-quiet" onClick=${close}>${t("action.cancel")}</button>
          <button
            type="button"
            class="button button-accent"
            data-testid="break-confirm"
            onClick=${() => {
              close();
              onTake(post("/wallet/break", { days }), t("break.begun"));
            }}
          >
            ${t("break.confirm")}
          </button>
        </div>
      </div>`,
    });
  return html`<div class="break">
    <h3>${t("break.title")}</h3>
    ${until !== null && html`<${Notice} kind="warn" testid="break-until">${t("break.until", { time: dateTime(until) })}<//>`}
    <p class="muted small" id="break-text">${t("break.text")}</p>
    <div class="break-row">
      <select
        class="select"
        aria-label=${t("break.length")}
        data-testid="break-days"
        onChange=${(/** @type {any} */ event) => setDays(Number(event.currentTarget.value))}
      >
        ${BREAK_DAYS.map((one) => html`<option key=${one} value=${one} selected=${one === days}>${t(`break.days.${one}`)}</option>`)}
      </select>
      <button type="button" class="button" aria-describedby="break-text" onClick=${() => void ask()} data-testid="break-take">
        ${t(until === null ? "break.take" : "break.lengthen")}
      </button>
    </div>
  </div>`;
}
