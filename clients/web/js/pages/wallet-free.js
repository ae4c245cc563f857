// The free credits: an offer to new members, claimed by validating a card, which is not charged.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { errorText, get, post } from "../api.js";
import { has, t } from "../i18n.js";
import { openDialog } from "../ui/dialog.js";
import { credits } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { Notice, Spinner } from "../ui/parts.js";
import { toast } from "../ui/toast.js";

/**
 * @typedef {{ state: string, units: number, redirects?: boolean, failure?: string | null,
 *   redirect_url?: string | null }} Free
 */

/** The test provider's cards; a real provider has a page of its own for them. */
const TEST_CARDS = ["tok_ok", "tok_ok_2", "tok_declined", "tok_expired", "tok_blocked", "tok_slow"];
const CLAIMABLE = ["eligible", "declined", "pending"];

export function FreeCredits() {
  const [free, setFree] = useState(/** @type {Free | null} */ (null));
  useEffect(() => {
    look().then(setFree, () => {});
  }, []);
  if (!free || !CLAIMABLE.includes(free.state)) return null;
  const open = async () => {
    await openDialog({
      title: t("free.title", { amount: credits(free.units) }),
      testid: "free-dialog",
      content: (close) => html`<${ClaimForm} free=${free} onChange=${setFree} onClose=${close} />`,
    });
  };
  return html`<section class="panel free-offer" aria-labelledby="free-title" data-testid="free-offer">
    <span class="free-mark" aria-hidden="true"><${Icon} name="gift" size=${26} /></span>
    <div class="free-text">
      <h2 id="free-title">${t("free.title", { amount: credits(free.units) })}</h2>
      <p class="muted small">${t("free.text")}</p>
    </div>
    <button type="button" class="button button-accent" onClick=${open} data-testid="free-open">
      ${t("free.open")}
    </button>
  </section>`;
}

/** How it stands; whoever comes back from the provider's page has it looked at first. */
async function look() {
  const back = new URLSearchParams(location.search).has("free");
  /** @type {Free} */
  let free = await get("/wallet/free-credits");
  if (!back) return free;
  history.replaceState(history.state, "", location.pathname + location.hash);
  if (free.state !== "pending") return free;
  free = await post("/wallet/free-credits", {});
  if (free.state === "granted") toast(t("free.granted", { amount: credits(free.units) }), "good");
  return free;
}

/** @param {{ free: Free, onChange: (free: Free) => void, onClose: () => void }} props */
function ClaimForm({ free, onChange, onClose }) {
  const [token, setToken] = useState("tok_ok");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(firstProblem(free));
  const claim = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      const how = free.redirects ? {} : { token };
      const answer = /** @type {Free} */ (await post("/wallet/free-credits", how));
      if (answer.redirect_url) {
        location.assign(answer.redirect_url);
        return;
      }
      if (answer.state === "granted") {
        toast(t("free.granted", { amount: credits(answer.units) }), "good");
        onClose();
        onChange(answer);
        return;
      }
      setProblem(answer.state === "pending" ? t("free.pending") : t(failureKey(answer.failure)));
    } catch (error) {
      setProblem(errorText(error));
    }
    setBusy(false);
  };
  return html`<form class="free-form" onSubmit=${claim}>
    <p>${t("free.how")}</p>
    <ul class="free-points muted small">
      <li>${t("free.point_zero")}</li>
      <li>${t("free.point_once")}</li>
      <li>${t("free.point_premium")}</li>
    </ul>
    ${free.redirects
      ? html`<p class="muted">${t("free.elsewhere")}</p>`
      : html`<${TestCards} token=${token} busy=${busy} onToken=${setToken} />`}
    ${problem && html`<${Notice} kind="bad" alert testid="free-problem">${problem}<//>`}
    <div class="purchase-actions">
      <button type="button" class="button button-quiet" onClick=${onClose}>${t("action.close")}</button>
      <button class="button button-accent button-large" disabled=${busy} data-testid="free-claim">
        ${busy ? html`<${Spinner} label=${t("buy.paying")} />` : t("free.claim")}
      </button>
    </div>
  </form>`;
}

/** @param {{ token: string, busy: boolean, onToken: (token: string) => void }} props */
function TestCards({ token, busy, onToken }) {
  return html`<fieldset class="test-cards">
    <legend>${t("buy.test_title")}</legend>
    ${TEST_CARDS.map(
      (card) => html`<label key=${card} class="radio-line">
        <input
          type="radio"
          name="free-card"
          value=${card}
          checked=${card === token}
          disabled=${busy}
          onChange=${() => onToken(card)}
          data-testid=${`free-${card}`}
        />
        <span>${t(`buy.card.${card}`)}</span>
      </label>`,
    )}
  </fieldset>`;
}

/** @param {Free} free */
function firstProblem(free) {
  if (free.state === "declined") return t(failureKey(free.failure));
  return free.state === "pending" && !free.redirect_url ? t("free.pending") : "";
}

/** @param {string | null | undefined} failure */
function failureKey(failure) {
  return has(`free.failed.${failure}`) ? `free.failed.${failure}` : "free.failed.other";
}
