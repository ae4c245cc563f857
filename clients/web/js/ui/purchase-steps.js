// What each step of the purchase shows.

import { html } from "../../vendor/preact-htm.js";
import { has, t } from "../i18n.js";
import { ownedUnits, useSession } from "../session.js";
import { credits, creditsText, dateTime, money } from "./format.js";
import { Icon } from "./icons.js";
import { Badge, Facts, Notice, Spinner } from "./parts.js";

const UNITS_PER_CREDIT = 6_000;
/** The test provider's cards; a real provider has a page of its own. */
const TEST_CARDS = ["tok_ok", "tok_declined", "tok_expired", "tok_blocked", "tok_slow"];

/** @param {import("./purchase.js").Method} method */
export function methodName(method) {
  return has(`buy.method.${method.id}`) ? t(`buy.method.${method.id}`) : method.label;
}

/**
 * What a package costs with a way to pay: the reduced price, where there is one.
 * @param {import("./purchase.js").Package} one
 * @param {import("./purchase.js").Method} method
 * @returns {{ price_minor: number, percent?: number, ends_at_ms?: number }}
 */
export function priceWith(one, method) {
  return one.reductions.find((reduction) => reduction.method === method.id) ?? one;
}

/**
 * One step as a form: Enter goes on, the heading can take the focus.
 * @param {{ heading: { current: HTMLElement | null }, title: string, onSubmit: () => void, children?: any }} props
 */
function Step({ heading, title, onSubmit, children }) {
  return html`<form
    class="purchase-step"
    onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      onSubmit();
    }}
  >
    <h3 ref=${heading} tabindex="-1">${title}</h3>
    ${children}
  </form>`;
}

/** @param {any} props */
export function MethodStep({ heading, methods, packages, chosen, onChoose, onNext }) {
  const most = (/** @type {import("./purchase.js").Method} */ method) =>
    Math.max(
      0,
      ...packages.map((/** @type {import("./purchase.js").Package} */ one) => priceWith(one, method).percent ?? 0),
    );
  return html`<${Step} heading=${heading} title=${t("buy.choose_method")} onSubmit=${onNext}>
    <fieldset class="stack-tight">
      <legend class="visually-hidden">${t("buy.step.method")}</legend>
      ${methods.map(
        (/** @type {import("./purchase.js").Method} */ method) => html`<label key=${method.id} class="choice">
          <input
            type="radio"
            name="method"
            value=${method.id}
            checked=${method.id === chosen.id}
            onChange=${() => onChoose(method)}
            data-testid=${`method-${method.id}`}
          />
          <${Icon} name="card" /><span class="method-name">${methodName(method)}</span>
          ${most(method) > 0 &&
          html`<${Badge} kind="live">${t("buy.up_to_percent", { percent: most(method) })}<//>`}
        </label>`,
      )}
    </fieldset>
    <div class="purchase-actions">
      <button class="button button-accent button-large" data-testid="purchase-next">
        ${t("action.continue")}
      </button>
    </div>
  <//>`;
}

/** @param {any} props */
export function PackageStep({ heading, packages, method, chosen, onChoose, onBack, onNext }) {
  return html`<${Step} heading=${heading} title=${t("buy.choose_package")} onSubmit=${onNext}>
    <fieldset class="package-grid">
      <legend class="visually-hidden">${t("buy.step.package")}</legend>
      ${packages.map((/** @type {import("./purchase.js").Package} */ one) => {
        const now = priceWith(one, method);
        return html`<label key=${one.id} class="choice package">
          <input
            type="radio"
            name="package"
            value=${one.id}
            checked=${one.id === chosen.id}
            onChange=${() => onChoose(one)}
            data-testid=${`package-${one.id}`}
          />
          <span class="package-text">
            <span class="package-credits numbers">${creditsText(one.credits_units)}</span>
            <span class="muted small numbers">
              ${t("buy.per_credit", {
                price: money((now.price_minor * UNITS_PER_CREDIT) / one.credits_units, one.currency),
              })}
            </span>
            ${one.preselected && html`<${Badge} kind="accent">${t("buy.suggested")}<//>`}
            ${now.percent &&
            html`<${Badge} kind="live">${t("buy.percent", { percent: now.percent })}<//>
              <span class="package-until muted small">
                ${t("buy.until", { time: dateTime(/** @type {number} */ (now.ends_at_ms)) })}
              </span>`}
          </span>
          <span class="package-price numbers">
            ${now.percent &&
            html`<s class="package-was"
              ><span class="visually-hidden">${t("buy.list_price")} </span>${money(one.price_minor, one.currency)}</s
            > `}
            ${money(now.price_minor, one.currency)}
          </span>
        </label>`;
      })}
    </fieldset>
    <div class="purchase-actions">
      <button type="button" class="button button-quiet" onClick=${onBack}>${t("action.back")}</button>
      <button class="button button-accent button-large" data-testid="purchase-next">
        ${t("action.continue")}
      </button>
    </div>
  <//>`;
}

/** @param {any} props */
function TestCards({ token, onToken, payment }) {
  return html`<fieldset class="test-cards">
    <legend>${t("buy.test_title")}</legend>
    <p class="muted small">${t("buy.test_text")}</p>
    ${TEST_CARDS.map(
      (card) => html`<label key=${card} class="radio-line">
        <input
          type="radio"
          name="card"
          value=${card}
          checked=${card === token}
          disabled=${payment.busy}
          onChange=${() => onToken(card)}
          data-testid=${`card-${card}`}
        />
        <span>${t(`buy.card.${card}`)}</span>
      </label>`,
    )}
  </fieldset>`;
}

/** @param {any} props */
export function DetailsStep(props) {
  const { heading, chosen, method, price, descriptor, redirects, token, onToken, payment, onBack, onPay } = props;
  return html`<${Step} heading=${heading} title=${t("buy.confirm")} onSubmit=${onPay}>
    <${Facts}
      rows=${[
        [t("buy.you_get"), creditsText(chosen.credits_units)],
        [t("buy.with"), methodName(method)],
        ...(priceWith(chosen, method).percent
          ? [[t("buy.list_price"), html`<s>${money(chosen.price_minor, chosen.currency)}</s>`]]
          : []),
        [t("buy.you_pay"), html`<strong>${price}</strong>`],
      ]}
    />
    ${redirects ? html`<p class="muted">${t("buy.elsewhere")}</p>` : html`<${TestCards} ...${{ token, onToken, payment }} />`}
    ${payment.problem && html`<${Notice} kind="bad" alert testid="payment-problem">${payment.problem}<//>`}
    ${payment.pending && html`<${Notice} kind="info" alert testid="payment-pending">${t("buy.pending")}<//>`}
    <div class="purchase-actions">
      <button type="button" class="button button-quiet" onClick=${onBack} disabled=${payment.busy}>
        ${t("action.back")}
      </button>
      <button class="button button-accent button-large" disabled=${payment.busy} data-testid="pay">
        ${payment.busy
          ? html`<${Spinner} label=${t("buy.paying")} /><span aria-hidden="true">${t("buy.paying")}</span>`
          : html`<${Icon} name="lock" size=${18} />${t("buy.pay", { price })}`}
      </button>
    </div>
    <p class="purchase-note faint small">
      ${t("buy.safe_note")} ${descriptor && t("buy.descriptor", { descriptor })}
    </p>
  <//>`;
}

/** @param {any} props */
export function ReceiptStep({ heading, order, descriptor, becamePremium, inDialog, onClose, onAgain }) {
  const { balance } = useSession();
  return html`<div class="purchase-step" data-testid="receipt">
    <div class="receipt-head">
      <span class="receipt-mark"><${Icon} name="check" size=${28} /></span>
      <h3 ref=${heading} tabindex="-1">${t("buy.receipt_title", { amount: credits(order.credits_units) })}</h3>
      ${becamePremium && html`<p class="muted">${t("buy.receipt_premium")}</p>`}
    </div>
    <${Facts}
      rows=${[
        [t("buy.you_paid"), money(order.price_minor, order.currency)],
        [t("buy.time"), dateTime(order.settled_at_ms ?? order.created_at_ms)],
        [t("buy.order"), html`<span class="order-id">${order.id}</span>`],
        ...(balance ? [[t("buy.new_balance"), html`<strong>${creditsText(ownedUnits(balance))}</strong>`]] : []),
      ]}
    />
    ${descriptor && html`<p class="purchase-note faint small">${t("buy.descriptor", { descriptor })}</p>`}
    <div class="purchase-actions">
      ${inDialog
        ? html`<button type="button" class="button button-accent button-large" onClick=${onClose} data-testid="topup-done">
            ${t("action.done")}
          </button>`
        : html`<button type="button" class="button button-quiet" onClick=${onAgain}>${t("buy.again")}</button>
            <a class="button button-accent button-large" href="/">${t("action.home")}</a>`}
    </div>
  </div>`;
}
