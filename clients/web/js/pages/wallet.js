// The wallet: balance, buying credits, auto-reload, limits, every movement.

import { html, render, useCallback, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { t } from "../i18n.js";
import { ownedUnits, useSession } from "../session.js";
import { keepAutoReload } from "../ui/auto-reload.js";
import { credits } from "../ui/format.js";
import { EmptyState, ErrorState, Notice } from "../ui/parts.js";
import { PurchaseFlow } from "../ui/purchase.js";
import { FreeCredits } from "./wallet-free.js";
import { LimitsBox } from "./wallet-limits.js";
import { Receipts } from "./wallet-receipts.js";
import { AutoReloadBox } from "./wallet-reload.js";
import { RewardsBox } from "./wallet-rewards.js";
import { ReturnedPurchase, returnedOrder } from "./wallet-return.js";
import { Transactions } from "./wallet-transactions.js";

/** A payment is several movements of the balance, one right behind the other. */
const SETTLE_MS = 250;
/** A session in another tab moves the balance each second; the lists follow a little slower. */
const LOOK_MS = 2_000;

/** @param {{ balance: import("../session.js").Balance | null, debt: number }} props */
function BalancePanel({ balance, debt }) {
  const rows = balance
    ? [
        ["bought", balance.paid_units],
        ["promo", balance.promo_units],
        ...(balance.held_units > 0 ? [["held", balance.held_units]] : []),
      ]
    : [];
  return html`<section class="panel wallet-balance" aria-labelledby="balance-title">
    <h2 id="balance-title">${t("wallet.balance")}</h2>
    <p class="balance-big numbers" data-testid="balance" data-units=${balance && ownedUnits(balance)}>
      ${balance
        ? html`<strong>${credits(ownedUnits(balance))}</strong> <span>${t("money.unit")}</span>`
        : html`<span class="skeleton-text" aria-hidden="true"></span>`}
    </p>
    <dl class="facts">
      ${rows.map(
        ([name, units]) => html`<div key=${name}>
          <dt>${t(`wallet.${name}`)}</dt>
          <dd class="numbers" data-testid=${`balance-${name}`}>${credits(/** @type {number} */ (units))}</dd>
        </div>`,
      )}
    </dl>
    <p class="faint small">${t("wallet.available_note")}</p>
    ${debt > 0 &&
    html`<${Notice} kind="warn" testid="wallet-debt">${t("wallet.debt", { amount: credits(debt) })}<//>`}
  </section>`;
}

/** @param {{ context: import("../main.js").Context }} props */
function Wallet({ context }) {
  const { me, balance } = useSession();
  const [version, setVersion] = useState(0);
  const [limitsVersion, setLimitsVersion] = useState(0);
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const [returned, setReturned] = useState(returnedOrder);
  const [debt, setDebt] = useState(0);
  const welcome = new URLSearchParams(location.search).has("welcome");
  const load = useCallback(() => {
    setError(null);
    get("/wallet").then(
      (wallet) => {
        keepAutoReload(wallet.auto_reload ?? null);
        setDebt(wallet.debt_units);
      },
      (reason) => setError(errorText(reason)),
    );
  }, []);
  useEffect(load, [version]);
  // What changed in another tab, or was decided by staff.
  useEffect(
    () =>
      context.wire.onMessage((message) => {
        if (message.type !== "wallet.changed") return;
        if (message.part === "limits") setLimitsVersion((n) => n + 1);
        if (message.part === "refunds") setVersion((n) => n + 1);
      }),
    [],
  );
  // Each change of what was bought or spent is a new line of the list. Holds are not.
  const spent = balance ? ownedUnits(balance) : 0;
  const looked = useRef({ spent, atMs: 0 });
  useEffect(() => {
    if (looked.current.spent === spent) return undefined;
    const look = () => {
      looked.current = { spent, atMs: Date.now() };
      setVersion((n) => n + 1);
    };
    const timer = setTimeout(look, Math.max(SETTLE_MS, looked.current.atMs + LOOK_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [spent]);
  if (error) return html`<${ErrorState} text=${error} onRetry=${load} />`;
  return html`<h1 class="page-title">${t("wallet.title")}</h1>
    ${welcome &&
    !me?.premium &&
    html`<div class="wallet-welcome">
      <${Notice} kind="info">
        ${t("wallet.welcome", { name: me?.name ?? "" })} <a href="/">${t("wallet.welcome_skip")}</a>
      <//>
    </div>`}
    <div class="wallet-columns">
      <${BalancePanel} balance=${balance} debt=${debt} />
      <div class="wallet-main">
        ${!me?.premium && html`<${FreeCredits} />`}
        ${(me?.locked.length ?? 0) > 0 &&
        html`<${Notice} kind="info" testid="wallet-locked">${t("wallet.locked")}<//>`}
        <section class="panel wallet-buy" id="buy" aria-labelledby="buy-title">
          <h2 id="buy-title">${t("buy.title")}</h2>
          ${!me?.premium && html`<p class="muted small">${t("wallet.become_premium")}</p>`}
          ${returned !== null
            ? html`<${ReturnedPurchase}
                id=${returned}
                onEnded=${() => setVersion((n) => n + 1)}
                onDone=${() => setReturned(null)}
              />`
            : html`<${PurchaseFlow} onBought=${() => setVersion((n) => n + 1)} />`}
        </section>
        <${Transactions} version=${version} />
        <${Receipts} version=${version} />
      </div>
      <${RewardsBox} version=${version} />
      <${AutoReloadBox} />
      <${LimitsBox} version=${version + limitsVersion} />
    </div>`;
}

/** @param {{ context: import("../main.js").Context }} props */
function WalletPage({ context }) {
  const { me } = useSession();
  if (!me) {
    return html`<${EmptyState}
      icon="wallet"
      heading="h1"
      title=${t("wallet.sign_in_title")}
      text=${t("wallet.sign_in_text")}
    >
      <div class="row">
        <a class="button button-accent" href="/sign-in?next=/wallet">${t("nav.sign_in")}</a>
        <a class="button" href="/sign-up?next=/wallet">${t("nav.sign_up")}</a>
      </div>
    <//>`;
  }
  if (me.role === "expert") {
    return html`<${EmptyState}
      icon="studio"
      heading="h1"
      title=${t("wallet.expert_title")}
      text=${t("wallet.expert_text")}
    >
      <a class="button button-accent" href="/studio">${t("nav.studio")}</a>
    <//>`;
  }
  return html`<${Wallet} context=${context} />`;
}

/**
 * @param {HTMLElement} root
 * @param {import("../main.js").Context} context
 */
export function mount(root, context) {
  render(html`<${WalletPage} context=${context} />`, root);
  // The anchor's element has only now come to be.
  if (location.hash === "#buy") document.getElementById("buy")?.scrollIntoView();
}
