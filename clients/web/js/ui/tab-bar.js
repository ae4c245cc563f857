// The bottom bar of small screens: only pages that exist for this visitor.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { useSession } from "../session.js";
import { Icon } from "./icons.js";

/** @param {import("../session.js").You | null} me */
function tabsFor(me) {
  const home = { page: "home", href: "/", icon: "home", text: t("nav.home") };
  if (!me) {
    return [
      home,
      { page: "sign-in", href: "/sign-in", icon: "user", text: t("nav.sign_in") },
      { page: "sign-up", href: "/sign-up", icon: "plus", text: t("nav.sign_up") },
    ];
  }
  const help = { page: "help", href: "/help/camera", icon: "camera", text: t("nav.help_short") };
  return me.role === "expert"
    ? [
        home,
        { page: "studio", href: "/studio", icon: "studio", text: t("nav.studio") },
        { page: "earnings", href: "/earnings", icon: "wallet", text: t("nav.earnings") },
        help,
      ]
    : [home, { page: "wallet", href: "/wallet", icon: "wallet", text: t("nav.wallet") }, help];
}

/** @param {{ page: string }} props */
export function TabBar({ page }) {
  const { me } = useSession();
  return html`<ul>
    ${tabsFor(me).map(
      (tab) => html`<li key=${tab.page}>
        <a href=${tab.href} aria-current=${tab.page === page ? "page" : undefined}>
          <${Icon} name=${tab.icon} size=${22} />
          <span>${tab.text}</span>
        </a>
      </li>`,
    )}
  </ul>`;
}
