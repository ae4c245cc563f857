// A step of staff's that needs a word first: an amount, a reference, a reason.

import { html, useState } from "../../vendor/preact-htm.js";

/**
 * `take` gets what was written, without blanks around it, and says whether it will do; if not, `wrong`
 * is shown. The button has the test id `testid`, the field `fieldTestid`.
 * @param {{ id: string, label: string, action: string, wrong: string, take: (text: string) => boolean,
 *   testid: string, fieldTestid: string, look?: string, amount?: boolean }} props
 */
export function WrittenStep({ id, label, action, wrong, take, testid, fieldTestid, look = "", amount = false }) {
  const [text, setText] = useState("");
  const [refused, setRefused] = useState(false);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    setRefused(!take(text.trim()));
  };
  return html`<form class=${amount ? "staff-step staff-step-amount" : "staff-step"} onSubmit=${submit} noValidate>
    <label for=${id}>${label}</label>
    <input
      id=${id}
      class=${amount ? "input numbers" : "input"}
      inputmode=${amount ? "decimal" : undefined}
      autocomplete="off"
      maxlength="120"
      value=${text}
      aria-invalid=${refused ? "true" : undefined}
      aria-describedby=${refused ? `${id}-note` : undefined}
      onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
      data-testid=${fieldTestid}
    />
    <button type="submit" class=${`button ${look}`} data-testid=${testid}>${action}</button>
    ${refused && html`<p id=${`${id}-note`} class="field-error" role="alert">${wrong}</p>`}
  </form>`;
}
