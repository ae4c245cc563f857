// Back from the payment provider's page: what became of the order, asked of the server.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, post } from "../api.js";
import { t } from "../i18n.js";
import { credits, money } from "../ui/format.js";
import { ErrorState, Notice, Spinner } from "../ui/parts.js";
import { failureKey, follow, isOpen, refreshBalance } from "../ui/purchase.js";

/** @typedef {import("../ui/purchase.js").Order} Order */

/** The order that the address names, when one comes back. */
export function returnedOrder() {
  return new URLSearchParams(location.search).get("order");
}

/** A reload or a bookmark of the address must not tell of the purchase again. */
function forgetReturn() {
  history.replaceState(history.state, "", location.pathname + location.hash);
}

/**
 * @param {{ id: string, onEnded: () => void, onDone: () => void }} props `onEnded` when it is paid or
 *   will not be, `onDone` when the visitor has read so
 */
export function ReturnedPurchase({ id, onEnded, onDone }) {
  const [order, setOrder] = useState(/** @type {Order | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  const here = useRef(true);
  const path = `/orders/${encodeURIComponent(id)}`;

  /** @param {"check" | "cancel"} what */
  const ask = async (what) => {
    setError(null);
    setBusy(true);
    try {
      let { order: now } = await post(`${path}/${what}`, {});
      if (here.current) setOrder(now);
      // Not on the provider's page any more, and not decided: the bank is still working on it.
      if (isOpen(now) && !now.redirect_url) now = await follow(now, () => here.current);
      if (!here.current) return;
      setOrder(now);
      if (!isOpen(now)) {
        forgetReturn();
        if (now.state === "settled") await refreshBalance();
        onEnded();
      }
    } catch (reason) {
      if (here.current) setError(errorText(reason));
    }
    if (here.current) setBusy(false);
  };
  useEffect(() => {
    ask("check");
    return () => {
      here.current = false;
    };
  }, [id]);

  if (error) return html`<${ErrorState} text=${error} onRetry=${() => ask("check")} />`;
  if (!order) return html`<div class="purchase purchase-loading"><${Spinner} label=${t("back.asking")} /></div>`;
  return html`<div class="purchase purchase-step" data-testid="returned" data-state=${order.state}>
    <${Words} order=${order} />
    <div class="purchase-actions">
      ${order.redirect_url
        ? html`<button
              type="button"
              class="button button-quiet"
              disabled=${busy}
              onClick=${() => ask("cancel")}
              data-testid="returned-cancel"
            >
              ${t("back.cancel")}
            </button>
            <a class="button button-accent button-large" href=${order.redirect_url} data-testid="returned-again">
              ${t("back.go_on", { price: money(order.price_minor, order.currency) })}
            </a>`
        : !isOpen(order) &&
          html`<button type="button" class="button button-accent" onClick=${onDone} data-testid="returned-done">
            ${t(order.state === "settled" ? "buy.again" : "back.again")}
          </button>`}
    </div>
  </div>`;
}

/** @param {{ order: Order }} props */
function Words({ order }) {
  switch (order.state) {
    case "settled":
      return html`<${Notice} kind="good" alert testid="returned-settled">
        ${t("buy.receipt_title", { amount: credits(order.credits_units) })}
      <//>`;
    case "failed":
      return html`<${Notice} kind=${order.failure === "not_paid" ? "info" : "bad"} alert testid="returned-failed">
        ${t(failureKey(order.failure))}
      <//>`;
    default:
      return html`<${Notice} kind="info" alert testid="returned-open">
        ${t(order.redirect_url ? "back.not_paid" : "buy.pending")}
      <//>`;
  }
}
