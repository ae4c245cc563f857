// Making an account: Basic, or Premium, which leads on to the wallet.

import { html, render, useRef, useState } from "../../vendor/preact-htm.js";
import { ApiError, errorText, post } from "../api.js";
import { t } from "../i18n.js";
import { focusFirstError, Field } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { Notice, Spinner } from "../ui/parts.js";
import { EMAIL_CHARS_MAX, faults, PASSWORD_CHARS_MAX, REFUSALS, USERNAME_CHARS_MAX } from "./account-rules.js";
import { AccountShell, GuestsOnly } from "./account-shell.js";
import { goOn, safeNext, withNext } from "./next.js";

const PLANS = [
  { id: "basic", points: ["account.basic_1", "account.basic_2"] },
  { id: "premium", points: ["account.premium_1", "account.premium_2"] },
];

/** @param {{ plan: string, onPlan: (plan: string) => void }} props */
function Plans({ plan, onPlan }) {
  return html`<fieldset class="plans">
    <legend class="field-label">${t("account.plan")}</legend>
    ${PLANS.map(
      ({ id, points }) => html`<label key=${id} class="choice plan">
        <span class="plan-head">
          <input
            type="radio"
            name="plan"
            value=${id}
            checked=${plan === id}
            onChange=${() => onPlan(id)}
            aria-describedby=${`plan-${id}`}
            data-testid=${`plan-${id}`}
          />
          <strong>${t(`account.${id}`)}</strong>
          <span class="muted small plan-price">${t(`account.${id}_price`)}</span>
        </span>
        <span class="plan-points" id=${`plan-${id}`}>
          ${points.map(
            (point) => html`<span key=${point}><${Icon} name="check" size=${16} />${t(point)}</span>`,
          )}
        </span>
      </label>`,
    )}
  </fieldset>`;
}

/** @param {string} plan where a new member goes: the one who wants Premium to the packages */
function leave(plan) {
  if (plan !== "premium") {
    goOn("/");
    return;
  }
  const next = safeNext(location.search, location.origin);
  location.assign(`/wallet?welcome=1${next ? `&next=${encodeURIComponent(next)}` : ""}`);
}

function SignUp() {
  const [plan, setPlan] = useState("basic");
  const [values, setValues] = useState({ username: "", email: "", password: "" });
  const [errors, setErrors] = useState(/** @type {Record<string, string>} */ ({}));
  const [problem, setProblem] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));

  const show = (/** @type {Record<string, string>} */ found) => {
    setErrors(found);
    if (Object.keys(found).length > 0) {
      requestAnimationFrame(() => form.current && focusFirstError(form.current));
    }
  };
  const clean = { ...values, username: values.username.trim(), email: values.email.trim() };
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (busy) return;
    setProblem(null);
    const found = faults(clean);
    show(found);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      await post("/accounts", { ...clean, premium_wanted: plan === "premium" });
      leave(plan);
    } catch (error) {
      setBusy(false);
      const refusal = error instanceof ApiError ? REFUSALS[error.code] : undefined;
      if (refusal) show({ [refusal[0]]: refusal[1] });
      else setProblem(errorText(error));
    }
  };
  /** A fault that was told goes away while it is being mended; new ones wait for the button. */
  const input = (/** @type {"username" | "email" | "password"} */ name, /** @type {string} */ value) => {
    const next = { ...values, [name]: value };
    setValues(next);
    setErrors(({ [name]: told, ...others }) => (told && faults(next)[name] ? { ...others, [name]: told } : others));
  };
  const field = (/** @type {"username" | "email" | "password"} */ name) => ({
    name,
    label: t(`account.${name}`),
    value: values[name],
    error: errors[name] ? t(errors[name]) : undefined,
    onInput: (/** @type {string} */ value) => input(name, value),
  });
  return html`<${AccountShell} title=${t("account.sign_up_title")} text=${t("account.sign_up_text")} wide>
    <form class="stack" ref=${form} onSubmit=${submit} novalidate data-testid="sign-up-form">
      <${Plans} plan=${plan} onPlan=${setPlan} />
      ${problem && html`<${Notice} kind="bad" alert testid="form-problem">${problem}<//>`}
      <${Field} ...${field("username")} hint=${t("account.username_hint")} autocomplete="username" maxlength=${USERNAME_CHARS_MAX} />
      <${Field}
        ...${field("email")}
        type="email"
        hint=${t("account.email_hint")}
        autocomplete="email"
        inputmode="email"
        maxlength=${EMAIL_CHARS_MAX}
      />
      <${Field}
        ...${field("password")}
        type="password"
        hint=${t("account.password_hint")}
        autocomplete="new-password"
        maxlength=${PASSWORD_CHARS_MAX}
      />
      <button class="button button-accent button-large button-block" disabled=${busy} data-testid="submit">
        ${busy ? html`<${Spinner} />` : t(plan === "premium" ? "account.create_premium" : "account.create")}
      </button>
    </form>
    <p class="account-other">
      ${t("account.have_account")} <a href=${withNext("/sign-in")}>${t("account.sign_in")}</a>
    </p>
  <//>`;
}

/** @param {HTMLElement} root */
export function mount(root) {
  render(html`<${GuestsOnly}><${SignUp} /><//>`, root);
}
