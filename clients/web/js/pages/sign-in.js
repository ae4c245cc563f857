// Signing in.

import { html, render, useRef, useState } from "../../vendor/preact-htm.js";
import { ApiError, errorText, post } from "../api.js";
import { t } from "../i18n.js";
import { focusFirstError, Field } from "../ui/form.js";
import { Notice, Spinner } from "../ui/parts.js";
import { AccountShell, GuestsOnly } from "./account-shell.js";
import { goOn, withNext } from "./next.js";

function SignIn() {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [missing, setMissing] = useState({ username: false, password: false });
  const [problem, setProblem] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));

  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (busy) return;
    const empty = { username: username.trim() === "", password: password === "" };
    setMissing(empty);
    setProblem(null);
    if (empty.username || empty.password) {
      requestAnimationFrame(() => form.current && focusFirstError(form.current));
      return;
    }
    setBusy(true);
    try {
      const { you } = await post("/login", { username: username.trim(), password });
      goOn(you.role === "expert" ? "/studio" : "/");
    } catch (error) {
      setBusy(false);
      setProblem(errorText(error));
      if (error instanceof ApiError && error.code === "wrong_credentials") setPassword("");
    }
  };
  return html`<${AccountShell} title=${t("account.sign_in_title")}>
    <form class="stack" ref=${form} onSubmit=${submit} novalidate data-testid="sign-in-form">
      ${problem && html`<${Notice} kind="bad" alert testid="form-problem">${problem}<//>`}
      <${Field}
        name="username"
        label=${t("account.username")}
        value=${username}
        onInput=${setUsername}
        autocomplete="username"
        error=${missing.username ? t("account.username_missing") : undefined}
      />
      <${Field}
        name="password"
        type="password"
        label=${t("account.password")}
        value=${password}
        onInput=${setPassword}
        autocomplete="current-password"
        error=${missing.password ? t("account.password_missing") : undefined}
      />
      <button class="button button-accent button-large button-block" disabled=${busy} data-testid="submit">
        ${busy ? html`<${Spinner} />` : t("account.sign_in")}
      </button>
    </form>
    <p class="account-other">
      ${t("account.no_account")} <a href=${withNext("/sign-up")}>${t("account.join_link")}</a>
    </p>
  <//>`;
}

/** @param {HTMLElement} root */
export function mount(root) {
  render(html`<${GuestsOnly}><${SignIn} /><//>`, root);
}
