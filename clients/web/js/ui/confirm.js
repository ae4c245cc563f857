// A dialog that asks before something is done, stays open while it is, and says why if it was not.

import { html, useState } from "../../vendor/preact-htm.js";
import { errorText } from "../api.js";
import { t } from "../i18n.js";
import { openDialog } from "./dialog.js";
import { Notice, Spinner } from "./parts.js";

/**
 * @param {{ title: string, action: string, testid: string, kind?: "accent" | "bad", content: any,
 *   run: () => Promise<unknown> }} options `content` is what one agrees to; `run` does it
 */
export function askFirst({ title, testid, ...rest }) {
  return openDialog({ title, testid, content: (close) => html`<${Asked} ...${rest} onClose=${close} />` });
}

/** @param {{ action: string, kind?: string, content: any, run: () => Promise<unknown>, onClose: () => void }} props */
function Asked({ action, kind = "accent", content, run, onClose }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const confirm = async () => {
    setBusy(true);
    setProblem("");
    try {
      await run();
      onClose();
    } catch (error) {
      setProblem(errorText(error));
      setBusy(false);
    }
  };
  return html`<div class="stack">
    ${content} ${problem && html`<${Notice} kind="bad" alert testid="confirm-problem">${problem}<//>`}
    <div class="dialog-actions">
      <button type="button" class="button button-quiet" disabled=${busy} onClick=${onClose}>${t("action.cancel")}</button>
      <button type="button" class=${`button button-${kind}`} disabled=${busy} onClick=${confirm} data-testid="confirm">
        ${busy ? html`<${Spinner} />` : action}
      </button>
    </div>
  </div>`;
}
