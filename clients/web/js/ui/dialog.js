// A modal dialog on the native element: focus stays inside and returns to where it was.

import { html, render, useId, useLayoutEffect, useRef } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "./icons.js";

/**
 * Shown while it is rendered. `onClose` is asked for by Escape, the close button and the backdrop;
 * the owner then stops rendering it.
 * @param {{ title: string, onClose: () => void, children?: any, wide?: boolean, testid?: string,
 *   closeOnBackdrop?: boolean }} props
 */
export function Dialog({ title, onClose, children, wide = false, testid, closeOnBackdrop = true }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const titleId = useId();
  // A layout effect: in the same turn as the change, so that no key press falls in between.
  useLayoutEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      if (dialog?.open) dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return html`<dialog
    ref=${ref}
    class=${`dialog ${wide ? "dialog-wide" : ""}`}
    aria-labelledby=${titleId}
    data-testid=${testid}
    onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      onClose();
    }}
    onMouseDown=${(/** @type {MouseEvent} */ event) => {
      if (closeOnBackdrop && event.target === ref.current) onClose();
    }}
  >
    <div class="dialog-body">
      <div class="dialog-head">
        <h2 id=${titleId}>${title}</h2>
        <button
          type="button"
          class="icon-button"
          onClick=${onClose}
          aria-label=${t("action.close")}
          data-testid="dialog-close"
        >
          <${Icon} name="close" />
        </button>
      </div>
      ${children}
    </div>
  </dialog>`;
}

/**
 * Open a dialog from anywhere. `content(close)` renders what is inside.
 * @param {{ title: string, wide?: boolean, testid?: string, content: (close: () => void) => any }} options
 * @returns {Promise<void>} settles when it is closed
 */
export function openDialog({ title, wide, testid, content }) {
  const host = document.createElement("div");
  document.body.append(host);
  return new Promise((resolve) => {
    const close = () => {
      render(null, host);
      host.remove();
      resolve();
    };
    render(
      html`<${Dialog} title=${title} wide=${wide} testid=${testid} onClose=${close}>
        ${content(close)}
      <//>`,
      host,
    );
  });
}
