// Asking for a session's price back: a button while there is time, then what became of it.

import { html, useState } from "../../vendor/preact-htm.js";
import { errorText, post } from "../api.js";
import { t } from "../i18n.js";
import { leftText, useLeft } from "../ui/countdown.js";
import { openDialog } from "../ui/dialog.js";
import { credits, dateTime } from "../ui/format.js";
import { Badge, Notice, Spinner } from "../ui/parts.js";
import { toast } from "../ui/toast.js";

const COMPLAINT_CHARS_MAX = 1_000;

/**
 * @typedef {{ state: string, until_ms: number, granted_units?: number }} Standing
 * @typedef {import("./wallet-lines.js").PrivateLine} PrivateLine
 */

/** @param {{ session: PrivateLine, aheadMs: number, onAsked: () => void }} props */
export function Refund({ session, aheadMs, onAsked }) {
  const refund = /** @type {Standing} */ (session.refund);
  const shown = (/** @type {any} */ badge) =>
    html`<span class="refund-state" data-testid="refund-state" data-state=${refund.state}>${badge}</span>`;
  switch (refund.state) {
    case "possible":
      return html`<${Ask} session=${session} until=${refund.until_ms} aheadMs=${aheadMs} onAsked=${onAsked} />`;
    case "requested":
      return shown(html`<${Badge}>${t("refund.requested")}<//>`);
    case "approved":
      return shown(html`<${Badge} kind="live">${t("refund.approved", { amount: credits(refund.granted_units ?? 0) })}<//>`);
    case "denied":
      return shown(html`<${Badge} kind="warn">${t("refund.denied")}<//>`);
    default:
      return null;
  }
}

/** @param {{ session: PrivateLine, until: number, aheadMs: number, onAsked: () => void }} props */
function Ask({ session, until, aheadMs, onAsked }) {
  const left = useLeft(until, aheadMs);
  if (left === 0) return null;
  const open = async (/** @type {any} */ event) => {
    // The button goes when it was asked, and the focus would go with it.
    const stays = event.currentTarget.closest(".tx-actions")?.querySelector(".tx-toggle");
    await openDialog({
      title: t("refund.title", { expert: session.expert }),
      testid: "refund-dialog",
      content: (close) =>
        html`<${Form}
          session=${session}
          until=${until}
          onClose=${close}
          onAsked=${() => {
            onAsked();
            stays?.focus();
          }}
        />`,
    });
  };
  return html`<span class="refund-ask">
    <button type="button" class="link-button" onClick=${open} data-testid="refund-ask">
      ${t("refund.ask")}<span class="visually-hidden">: ${session.expert}, ${dateTime(session.started_at_ms)}</span>
    </button>
    <span class="faint small numbers" data-testid="refund-left">${t("refund.left", { time: leftText(left) })}</span>
  </span>`;
}

/** @param {{ session: PrivateLine, until: number, onClose: () => void, onAsked: () => void }} props */
function Form({ session, until, onClose, onAsked }) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [empty, setEmpty] = useState(false);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const complaint = text.trim();
    setEmpty(complaint === "");
    if (complaint === "") return;
    setBusy(true);
    setProblem("");
    try {
      await post(`/sessions/${encodeURIComponent(session.session)}/refund`, { complaint });
      toast(t("refund.asked"), "good");
      onClose();
      onAsked();
    } catch (error) {
      setProblem(errorText(error));
      setBusy(false);
    }
  };
  return html`<form class="stack" onSubmit=${send} noValidate>
    <p>${t("refund.text", { amount: credits(session.total_units), time: dateTime(until) })}</p>
    <div class="field">
      <label for="refund-complaint">${t("refund.complaint")}</label>
      <textarea
        id="refund-complaint"
        class="input textarea"
        rows="4"
        maxlength=${COMPLAINT_CHARS_MAX}
        required
        aria-invalid=${empty ? "true" : undefined}
        aria-describedby="refund-complaint-note"
        onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
        data-testid="refund-complaint"
      ></textarea>
      <p id="refund-complaint-note" class=${empty ? "field-error" : "field-hint"}>
        ${empty ? t("refund.complaint_missing") : t("refund.complaint_hint", { n: COMPLAINT_CHARS_MAX })}
      </p>
    </div>
    ${problem && html`<${Notice} kind="bad" alert testid="refund-problem">${problem}<//>`}
    <div class="dialog-actions">
      <button type="button" class="button button-quiet" disabled=${busy} onClick=${onClose}>${t("action.cancel")}</button>
      <button type="submit" class="button button-accent" disabled=${busy} data-testid="refund-send">
        ${busy ? html`<${Spinner} />` : t("refund.send")}
      </button>
    </div>
  </form>`;
}
