// Buying credits from anywhere, also in the middle of a session, which keeps running behind it.

import { html } from "../../vendor/preact-htm.js";
import { loadCatalogs, t } from "../i18n.js";
import { openDialog } from "./dialog.js";
import { PurchaseFlow } from "./purchase.js";

let open = false;

/**
 * Open the purchase steps as an overlay. The balance in the header and in the session follows by
 * the server's push; nothing on the page behind is stopped.
 * @returns {Promise<void>} settles when it is closed, bought or not
 */
export async function openTopUp() {
  if (open) return;
  open = true;
  try {
    await loadCatalogs(["wallet"]);
    await openDialog({
      title: t("wallet.topup_title"),
      wide: true,
      testid: "topup",
      content: (close) => html`<${PurchaseFlow} inDialog onClose=${close} />`,
    });
  } finally {
    open = false;
  }
}
