// The staff page: what staff decides, one section at a time. A section is a row of SECTIONS.

import { html, render, useEffect, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { useSession } from "../session.js";
import { EmptyState } from "../ui/parts.js";
import { StaffOrders } from "./staff-orders.js";
import { StaffPayouts } from "./staff-payouts.js";
import { StaffPurchases } from "./staff-purchases.js";
import { StaffRefunds } from "./staff-refunds.js";

/** `id` is the address's hash and the end of the words' key. */
const SECTIONS = [
  { id: "refunds", View: StaffRefunds },
  { id: "purchases", View: StaffPurchases },
  { id: "payouts", View: StaffPayouts },
  { id: "orders", View: StaffOrders },
];

const chosen = () => SECTIONS.find(({ id }) => `#${id}` === location.hash) ?? SECTIONS[0];

function Sections() {
  const [section, setSection] = useState(chosen);
  useEffect(() => {
    const follow = () => setSection(chosen());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return html`<h1 class="page-title">${t("staff.title")}</h1>
    ${SECTIONS.length > 1 &&
    html`<nav class="staff-sections" aria-label=${t("staff.sections")}>
      ${SECTIONS.map(
        ({ id }) => html`<a
          key=${id}
          class="chip"
          href=${`#${id}`}
          aria-current=${id === section.id ? "page" : undefined}
          data-testid=${`staff-section-${id}`}
          >${t(`staff.section.${id}`)}</a
        >`,
      )}
    </nav>`}
    <${section.View} key=${section.id} />`;
}

function StaffPage() {
  const { me, staff } = useSession();
  if (!me) {
    return html`<${EmptyState} icon="shield" heading="h1" title=${t("staff.sign_in_title")} text=${t("staff.sign_in_text")}>
      <a class="button button-accent" href="/sign-in?next=/staff">${t("nav.sign_in")}</a>
    <//>`;
  }
  if (!staff) {
    return html`<${EmptyState} icon="shield" heading="h1" title=${t("staff.only_title")} text=${t("staff.only_text")}>
      <a class="button" href="/">${t("action.home")}</a>
    <//>`;
  }
  return html`<${Sections} />`;
}

/** @param {HTMLElement} root */
export function mount(root) {
  render(html`<${StaffPage} />`, root);
}
