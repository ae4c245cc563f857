// A search of staff's by a member's name; what was found is its caller's.

import { html, useState } from "../../vendor/preact-htm.js";
import { errorText } from "../api.js";
import { t } from "../i18n.js";
import { Notice } from "../ui/parts.js";

/**
 * `look` asks for what there is of a member; `name` is the section's, and the middle of its words.
 * @param {{ name: string, look: (member: string) => Promise<unknown>, onGone: () => void }} props
 */
export function StaffSearch({ name, look, onGone }) {
  const [member, setMember] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const wanted = member.trim();
    if (!wanted) return;
    setBusy(true);
    setProblem("");
    try {
      await look(wanted);
    } catch (error) {
      onGone();
      setProblem(errorText(error));
    }
    setBusy(false);
  };
  return html`<form class="staff-search" onSubmit=${submit} role="search">
      <label for="staff-member">${t("staff.search.member")}</label>
      <input
        id="staff-member"
        class="input"
        autocomplete="off"
        autocapitalize="none"
        spellcheck="false"
        value=${member}
        onInput=${(/** @type {any} */ event) => setMember(event.currentTarget.value)}
        data-testid="staff-member"
      />
      <button class="button" disabled=${busy} data-testid="staff-member-look">${t(`staff.${name}.look`)}</button>
    </form>
    ${problem && html`<${Notice} kind="bad" alert testid=${`staff-${name}-problem`}>${problem}<//>`}`;
}
