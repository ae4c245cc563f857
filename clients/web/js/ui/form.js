// Form fields with their label, hint and error tied together.

import { html, useId, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "./icons.js";

/**
 * @param {{ name: string, label: string, value: string, onInput: (value: string) => void,
 *   error?: string, hint?: string, type?: string, autocomplete?: string,
 *   inputmode?: string, maxlength?: number, minlength?: number }} props
 */
export function Field({ name, label, value, onInput, error, hint, type = "text", autocomplete, ...rest }) {
  const id = useId();
  const [shown, setShown] = useState(false);
  const secret = type === "password";
  const input = html`<input
    id=${id}
    class="input"
    name=${name}
    type=${secret && shown ? "text" : type}
    value=${value}
    autocomplete=${autocomplete}
    autocapitalize="none"
    spellcheck="false"
    required
    aria-invalid=${error ? "true" : undefined}
    aria-describedby=${error || hint ? `${id}-note` : undefined}
    onInput=${(/** @type {any} */ event) => onInput(event.currentTarget.value)}
    data-testid=${name}
    ...${rest}
  />`;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${secret
      ? html`<div class="input-with-button">
          ${input}
          <button
            type="button"
            class="icon-button"
            aria-pressed=${shown ? "true" : "false"}
            aria-label=${t("form.show_password")}
            title=${t("form.show_password")}
            onClick=${() => setShown(!shown)}
          >
            <${Icon} name=${shown ? "eye-off" : "eye"} />
          </button>
        </div>`
      : input}
    ${error
      ? html`<p class="field-error" id=${`${id}-note`} data-testid=${`${name}-error`}>
          <${Icon} name="alert" size=${16} /><span>${error}</span>
        </p>`
      : hint && html`<p class="field-hint" id=${`${id}-note`}>${hint}</p>`}
  </div>`;
}

/**
 * Focus the first field of a form that has an error.
 * @param {HTMLFormElement} form
 */
export function focusFirstError(form) {
  const field = form.querySelector('[aria-invalid="true"]');
  if (field instanceof HTMLElement) field.focus();
}
