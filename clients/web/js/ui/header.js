// The header of every page: logo, credits, the visitor's own menu, language.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, post } from "../api.js";
import { language, t } from "../i18n.js";
import { ownedUnits, updateSession, useSession } from "../session.js";
import { AutoReloadSwitch } from "./auto-reload.js";
import { credits, creditsText } from "./format.js";
import { Icon, Logo } from "./icons.js";
import { toast } from "./toast.js";

/** A short gap heals by itself and is nobody's concern. */
const OFFLINE_TOLD_MS = 3_000;

/**
 * True when the value has been true for a while.
 * @param {boolean} value
 * @param {number} delayMs
 */
function useLater(value, delayMs) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!value) {
      setLate(false);
      return undefined;
    }
    const timer = setTimeout(() => setLate(true), delayMs);
    return () => clearTimeout(timer);
  }, [value]);
  return late;
}

/** @param {string} lang the same page in another language; the server keeps it in a cookie */
function languageHref(lang) {
  const url = new URL(location.href);
  url.searchParams.set("lang", lang);
  return url.pathname + url.search;
}

function LanguageLinks() {
  return html`<div class="language-links" role="group" aria-label=${t("nav.language")}>
    ${[
      ["en", "English"],
      ["nb", "Norsk"],
    ].map(
      ([code, name]) => html`<a
        key=${code}
        href=${languageHref(code)}
        lang=${code}
        hreflang=${code}
        aria-current=${language() === code ? "true" : undefined}
        data-testid=${`language-${code}`}
        >${name}</a
      >`,
    )}
  </div>`;
}

async function signOut() {
  try {
    await post("/logout");
    updateSession({ me: null, balance: null, staff: false });
    location.assign("/");
  } catch (error) {
    toast(errorText(error), "bad");
  }
}

/** @param {{ me: import("../session.js").You | null }} props */
function MenuContent({ me }) {
  const { staff } = useSession();
  return html`
    ${me &&
    html`<div class="menu-who">
      <strong data-testid="menu-name">${me.name}</strong>
      <span class="muted">${t(`role.${me.role === "member" && me.premium ? "premium" : me.role}`)}</span>
    </div>`}
    ${me?.role === "member" &&
    html`<a class="menu-item" href="/wallet" data-testid="menu-wallet"
        ><${Icon} name="wallet" />${t("nav.credits")}</a
      >
      <div class="menu-item menu-switch"><${AutoReloadSwitch} /></div>`}
    ${me?.role === "expert" &&
    html`<a class="menu-item" href="/studio" data-testid="menu-studio"
      ><${Icon} name="studio" />${t("nav.studio")}</a
      ><a class="menu-item" href="/earnings" data-testid="menu-earnings"
        ><${Icon} name="wallet" />${t("nav.earnings")}</a
      >`}
    ${me &&
    staff &&
    html`<a class="menu-item" href="/staff" data-testid="menu-staff"><${Icon} name="shield" />${t("nav.staff")}</a>`}
    <a class="menu-item" href="/help/camera"><${Icon} name="camera" />${t("nav.help")}</a>
    <div class="menu-item menu-language"><${Icon} name="globe" /><${LanguageLinks} /></div>
    ${me &&
    html`<button class="menu-item" type="button" onClick=${signOut} data-testid="sign-out">
      <${Icon} name="logout" />${t("nav.sign_out")}
    </button>`}
  `;
}

/**
 * A disclosure: a button and what it opens; closes on Escape, outside and when focus leaves.
 * @param {{ me: import("../session.js").You | null }} props
 */
function Menu({ me }) {
  const [open, setOpen] = useState(false);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => {
    if (!open) return undefined;
    const outside = (/** @type {Event} */ event) => {
      if (!box.current?.contains(/** @type {Node} */ (event.target))) setOpen(false);
    };
    const escape = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      button.current?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
      document.removeEventListener("keydown", escape);
    };
  }, [open]);
  const name = me?.name ?? t("nav.menu");
  return html`<div class="menu" ref=${box}>
    <button
      type="button"
      ref=${button}
      class="menu-button"
      aria-expanded=${open ? "true" : "false"}
      aria-controls="site-menu"
      aria-label=${me ? t("nav.menu_of", { name }) : name}
      onClick=${() => setOpen(!open)}
      data-testid=${me ? "account-menu" : "menu"}
    >
      ${me
        ? html`<span class="initial" aria-hidden="true">${name.charAt(0).toUpperCase()}</span>`
        : html`<${Icon} name="globe" />`}
      <${Icon} name="chevron-down" size=${16} />
    </button>
    <div id="site-menu" class="menu-panel" hidden=${!open}>
      ${open && html`<${MenuContent} me=${me} />`}
    </div>
  </div>`;
}

/** The purchase is fetched when it is wanted; most pages never need it. */
async function topUp() {
  try {
    const { openTopUp } = await import("./topup.js");
    await openTopUp();
  } catch {
    toast(t("error.network"), "bad");
  }
}

/** @param {{ page: string }} props */
function MemberCredits({ page }) {
  const { balance } = useSession();
  const inRoom = page === "room";
  const units = balance ? ownedUnits(balance) : undefined;
  return html`<a
      href="/wallet"
      class="balance-chip"
      data-testid="balance-chip"
      data-units=${units}
      aria-label=${units === undefined ? t("nav.wallet") : t("nav.balance_is", { amount: credits(units) })}
    >
      ${units === undefined ? html`<span class="skeleton-text" aria-hidden="true"></span>` : creditsText(units)}
    </a>
    ${inRoom
      ? html`<button type="button" class="button button-accent get-credits" onClick=${topUp} data-testid="get-credits">
          ${t("nav.get_credits")}
        </button>`
      : html`<a class="button button-accent get-credits" href="/wallet#buy" data-testid="get-credits">${t("nav.get_credits")}</a>`}`;
}

function GuestLinks() {
  const next = location.pathname === "/" || location.pathname.startsWith("/sign-") ? "" : `?next=${encodeURIComponent(location.pathname)}`;
  return html`<a class="button button-quiet sign-in-link" href=${`/sign-in${next}`} data-testid="sign-in-link">${t("nav.sign_in")}</a>
    <a class="button button-accent" href=${`/sign-up${next}`} data-testid="sign-up-link">${t("nav.sign_up")}</a>`;
}

/** @param {{ context: import("../main.js").Context }} props */
export function Header({ context }) {
  const { me, online } = useSession();
  const lostForLong = useLater(!online, OFFLINE_TOLD_MS);
  return html`<div class="site-header-row">
      <a class="logo" href="/" aria-label=${t("nav.logo")}>
        <${Logo} />
        <span class="logo-word">Parlour</span>
      </a>
      <div class="site-header-right">
        ${me?.role === "member" && html`<${MemberCredits} page=${context.page} />`}
        ${me?.role === "expert" &&
        context.page !== "studio" &&
        html`<a class="button button-accent" href="/studio">${t("nav.studio")}</a>`}
        ${!me && html`<${GuestLinks} />`}
        <${Menu} me=${me} />
      </div>
    </div>
    <p class="offline-note" role="status" data-testid="offline">${lostForLong && t("state.offline")}</p>`;
}
