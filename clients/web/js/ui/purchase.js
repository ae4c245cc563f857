// The purchase: payment method, package, details, receipt. On the wallet page and as an overlay.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { ApiError, errorText, get, newKey, post } from "../api.js";
import { t } from "../i18n.js";
import { currentSession, updateSession, useSession } from "../session.js";
import { money } from "./format.js";
import { EmptyState, ErrorState, Spinner } from "./parts.js";
import { DetailsStep, MethodStep, PackageStep, ReceiptStep, priceWith } from "./purchase-steps.js";

/**
 * @typedef {{ id: string, credits_units: number, price_minor: number, currency: string, preselected: boolean,
 *   reductions: { method: string, price_minor: number, percent: number, ends_at_ms: number }[] }} Package
 * @typedef {{ id: string, label: string }} Method
 * @typedef {{ packages: Package[], methods: Method[], descriptor: string, redirects: boolean }} Offer
 * @typedef {{ id: string, state: string, credits_units: number, price_minor: number, currency: string,
 *   created_at_ms: number, settled_at_ms?: number | null, failure?: string | null, method: string,
 *   origin: string, descriptor: string, list_price_minor?: number, redirect_url?: string, refunded_units?: number }} Order
 */

const STEPS = ["method", "package", "details", "receipt"];
/** How often and how long to ask for an order that the bank is still working on. */
const PENDING_POLL_MS = 1_500;
const PENDING_POLLS_MAX = 40;
/** How often a provider that is slow is asked for its page, and how long between. */
const PAGE_ASKS_MAX = 5;
const PAGE_ASK_MS = 3_000;

/** @param {Order} order */
export function isOpen(order) {
  return order.state === "created" || order.state === "authorized";
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Ask for an order until it is settled or failed, or for a minute.
 * @param {Order} order
 * @param {() => boolean} wanted false when nobody looks any more
 * @returns {Promise<Order>}
 */
export async function follow(order, wanted) {
  let current = order;
  for (let n = 0; n < PENDING_POLLS_MAX && isOpen(current) && wanted(); n += 1) {
    await pause(PENDING_POLL_MS);
    const { orders } = await get("/orders");
    current = orders.find((/** @type {Order} */ other) => other.id === order.id) ?? current;
  }
  return current;
}

/**
 * The provider's page for an order, if it gives one in a while.
 * @param {Order} order
 * @param {() => boolean} wanted false when nobody looks any more
 * @returns {Promise<Order>}
 */
async function withPage(order, wanted) {
  let current = order;
  for (let n = 0; n < PAGE_ASKS_MAX && current.state === "created" && !current.redirect_url && wanted(); n += 1) {
    await pause(PAGE_ASK_MS);
    current = (await post(`/orders/${encodeURIComponent(order.id)}/check`, {})).order;
  }
  return current;
}

/** The header's chip follows the socket's push; where no socket is open it is asked for. */
export async function refreshBalance() {
  try {
    const { you, balance } = await get("/me");
    if (you && balance) updateSession({ me: you, balance });
  } catch {
    // The next push or page brings it.
  }
}

/**
 * The money part, apart from what it looks like. One idempotency key stands for one purchase:
 * it is kept over lost connections and replaced only after an order failed or was paid.
 * @param {boolean} redirects whether one pays on the provider's page
 * @param {() => void} onPriceChanged what was shown is not what it costs now
 */
function usePayment(redirects, onPriceChanged) {
  const key = useRef(newKey());
  const mounted = useRef(true);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {string | null} */ (null));
  const [pending, setPending] = useState(false);
  useEffect(
    () => () => {
      mounted.current = false;
    },
    [],
  );

  /**
   * @param {Package} chosen
   * @param {Method} method
   * @param {string} token of the card
   * @returns {Promise<Order | null>} the settled order
   */
  async function pay(chosen, method, token) {
    setBusy(true);
    setProblem(null);
    try {
      const wanted = {
        package: chosen.id,
        method: method.id,
        accepted_price_minor: priceWith(chosen, method).price_minor,
      };
      const created = await post("/orders", wanted, { idempotencyKey: key.current });
      let order = /** @type {Order} */ (created.order);
      if (order.state === "created") {
        const how = redirects ? {} : { token };
        order = (await post(`/orders/${encodeURIComponent(order.id)}/pay`, how, { idempotencyKey: key.current })).order;
      }
      if (redirects && order.state === "created") {
        order = await withPage(order, () => mounted.current);
        if (order.redirect_url) {
          location.assign(order.redirect_url);
          return null;
        }
        if (order.state === "created") throw new ApiError(503, "payments_unavailable", "no page to pay on");
      }
      if (isOpen(order)) {
        setPending(true);
        order = await follow(order, () => mounted.current);
      }
      if (isOpen(order)) return null;
      key.current = newKey();
      setPending(false);
      if (order.state === "settled") {
        await refreshBalance();
        return order;
      }
      setProblem(t(failureKey(order.failure)));
    } catch (error) {
      setPending(false);
      if (error instanceof ApiError && error.code === "network") setProblem(t("buy.unsure"));
      else {
        key.current = newKey();
        setProblem(errorText(error));
        if (error instanceof ApiError && error.code === "price_changed") onPriceChanged();
      }
    } finally {
      if (mounted.current) setBusy(false);
    }
    return null;
  }

  /** Another package or method is another purchase. */
  const renew = () => {
    key.current = newKey();
    setProblem(null);
  };
  return { pay, renew, busy, pending, problem };
}

/** @param {string | null | undefined} failure */
export function failureKey(failure) {
  const reason = String(failure ?? "");
  const words = ["funds", "expired", "blocked", "needs_action", "not_paid"];
  const known = words.find((word) => reason.includes(word));
  return `buy.failed.${known ?? "other"}`;
}

/** @param {{ step: string, reached: number, onGo: (step: string) => void }} props */
function Stepper({ step, reached, onGo }) {
  const at = STEPS.indexOf(step);
  return html`<ol class="stepper" aria-label=${t("buy.steps")}>
    ${STEPS.map((name, n) => {
      const label = html`<span class="stepper-number" aria-hidden="true">${n + 1}</span
        ><span class="stepper-name">${t(`buy.step.${name}`)}</span>`;
      const mayGo = n < at && step !== "receipt" && n <= reached;
      return html`<li key=${name} class=${n < at ? "is-done" : ""} aria-current=${n === at ? "step" : undefined}>
        ${mayGo
          ? html`<button type="button" onClick=${() => onGo(name)}>${label}</button>`
          : html`<span class="stepper-item">${label}</span>`}
      </li>`;
    })}
  </ol>`;
}

/** @returns {{ offer: Offer | null, error: string | null, load: () => void }} */
function useOffer() {
  const [offer, setOffer] = useState(/** @type {Offer | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const load = () => {
    setError(null);
    get("/wallet/packages").then(setOffer, (reason) => setError(errorText(reason)));
  };
  useEffect(load, []);
  return { offer, error, load };
}

/** @param {{ inDialog?: boolean, onClose?: () => void, onBought?: (order: Order) => void }} props */
export function PurchaseFlow({ inDialog = false, onClose, onBought }) {
  const { offer, error, load } = useOffer();
  if (error) return html`<${ErrorState} text=${error} onRetry=${load} />`;
  if (!offer) return html`<div class="purchase purchase-loading"><${Spinner} /></div>`;
  if (offer.packages.length === 0 || offer.methods.length === 0) {
    return html`<${EmptyState} icon="card" title=${t("buy.none_title")} text=${t("buy.none_text")} />`;
  }
  return html`<${Purchase}
    offer=${offer}
    onStale=${load}
    inDialog=${inDialog}
    onClose=${onClose}
    onBought=${onBought}
  />`;
}

/**
 * @param {{ offer: Offer, onStale: () => void, inDialog: boolean, onClose?: () => void,
 *   onBought?: (order: Order) => void }} props
 */
function Purchase({ offer, onStale, inDialog, onClose, onBought }) {
  const [step, setStep] = useState("method");
  const [method, setMethod] = useState(offer.methods[0]);
  const [chosenId, setChosenId] = useState((offer.packages.find((p) => p.preselected) ?? offer.packages[0]).id);
  const chosen = offer.packages.find((p) => p.id === chosenId) ?? offer.packages[0];
  const [token, setToken] = useState("tok_ok");
  const [receipt, setReceipt] = useState(/** @type {Order | null} */ (null));
  const { me } = useSession();
  const premiumBefore = useRef(currentSession().me?.premium ?? false);
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  const firstStep = useRef(true);
  const payment = usePayment(offer.redirects, onStale);

  // The step's heading takes the focus, so that a screen reader says where one is.
  useEffect(() => {
    if (firstStep.current) firstStep.current = false;
    else heading.current?.focus();
  }, [step]);

  const submit = async () => {
    const order = await payment.pay(chosen, method, token);
    if (!order) return;
    setReceipt(order);
    setStep("receipt");
    onBought?.(order);
  };
  const again = () => {
    premiumBefore.current = me?.premium ?? false;
    setReceipt(null);
    setStep("package");
  };
  const price = money(priceWith(chosen, method).price_minor, chosen.currency);
  return html`<div class="purchase" data-testid="purchase" data-step=${step}>
    <${Stepper} step=${step} reached=${STEPS.indexOf(step)} onGo=${setStep} />
    ${step === "method" &&
    html`<${MethodStep}
      heading=${heading}
      methods=${offer.methods}
      packages=${offer.packages}
      chosen=${method}
      onChoose=${(/** @type {Method} */ next) => {
        setMethod(next);
        payment.renew();
      }}
      onNext=${() => setStep("package")}
    />`}
    ${step === "package" &&
    html`<${PackageStep}
      heading=${heading}
      packages=${offer.packages}
      method=${method}
      chosen=${chosen}
      onChoose=${(/** @type {Package} */ next) => {
        setChosenId(next.id);
        payment.renew();
      }}
      onBack=${() => setStep("method")}
      onNext=${() => setStep("details")}
    />`}
    ${step === "details" &&
    html`<${DetailsStep}
      heading=${heading}
      chosen=${chosen}
      method=${method}
      price=${price}
      descriptor=${offer.descriptor}
      redirects=${offer.redirects}
      token=${token}
      onToken=${setToken}
      payment=${payment}
      onBack=${() => setStep("package")}
      onPay=${submit}
    />`}
    ${step === "receipt" &&
    receipt &&
    html`<${ReceiptStep}
      heading=${heading}
      order=${receipt}
      descriptor=${offer.descriptor}
      becamePremium=${!premiumBefore.current && me?.premium}
      inDialog=${inDialog}
      onClose=${onClose}
      onAgain=${again}
    />`}
  </div>`;
}
