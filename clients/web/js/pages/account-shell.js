// What sign-in and sign-up share: the panel, and what is shown to somebody who is already in.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { useSession } from "../session.js";
import { EmptyState } from "../ui/parts.js";

/** @param {{ title: string, text?: string, wide?: boolean, children?: any }} props */
export function AccountShell({ title, text, wide = false, children }) {
  return html`<section class=${`account ${wide ? "account-wide" : ""}`}>
    <div class="account-head">
      <h1>${title}</h1>
      ${text && html`<p class="muted">${text}</p>`}
    </div>
    <div class="panel">${children}</div>
  </section>`;
}

/** @param {{ children?: any }} props */
export function GuestsOnly({ children }) {
  const { me } = useSession();
  if (!me) return children;
  return html`<${EmptyState}
    icon="user"
    heading="h1"
    title=${t("account.already", { name: me.name })}
    text=${t("account.already_text")}
  >
    <a class="button button-accent" href="/">${t("action.home")}</a>
  <//>`;
}
