// Help for a camera or microphone that does not come on: a test, then the steps per browser.

import { html, render, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "../ui/icons.js";
import { Notice, Spinner } from "../ui/parts.js";
import { BROWSERS, browserOf } from "./browsers.js";
import { capabilities, failureOf, permission } from "./checks.js";

/** How many steps the texts of each browser have. @type {Record<string, number>} */
const STEPS = { chrome: 4, edge: 4, firefox: 4, safari: 4, android: 4, iphone: 4 };

/** @param {{ ok: boolean, children?: any }} props */
function CheckLine({ ok, children }) {
  return html`<li class=${`check ${ok ? "check-ok" : "check-bad"}`}>
    <${Icon} name=${ok ? "check" : "close"} size=${18} label=${ok ? t("help.ok") : t("help.not_ok")} />
    <span>${children}</span>
  </li>`;
}

function Capabilities() {
  const checks = capabilities();
  const [states, setStates] = useState(/** @type {Record<string, string>} */ ({}));
  useEffect(() => {
    /** @type {[PermissionStatus, () => void][]} */
    const watched = [];
    let gone = false;
    for (const name of /** @type {const} */ (["camera", "microphone"])) {
      permission(name).then((status) => {
        if (!status || gone) return;
        const tell = () => setStates((old) => ({ ...old, [name]: status.state }));
        status.addEventListener("change", tell);
        watched.push([status, tell]);
        tell();
      });
    }
    return () => {
      gone = true;
      for (const [status, tell] of watched) status.removeEventListener("change", tell);
    };
  }, []);
  return html`<ul class="checks" data-testid="checks">
    ${checks.map(
      ({ id, ok }) => html`<${CheckLine} key=${id} ok=${ok}>${t(ok ? `help.check.${id}` : `help.check.${id}.bad`)}<//>`,
    )}
    ${Object.entries(states).map(
      ([name, state]) => html`<${CheckLine} key=${name} ok=${state !== "denied"}>
        ${t(`help.permission.${name}.${state}`)}
      <//>`,
    )}
  </ul>`;
}

/** Opens the devices for a moment, shows the picture and says what came of it. */
function DeviceTest() {
  const [state, setState] = useState("idle");
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const stream = useRef(/** @type {MediaStream | null} */ (null));
  const stop = () => {
    for (const track of stream.current?.getTracks() ?? []) track.stop();
    stream.current = null;
  };
  useEffect(() => stop, []);
  const run = async () => {
    setState("asking");
    try {
      if (!navigator.mediaDevices) throw new DOMException("no devices here", "SecurityError");
      stream.current = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
      setState("ok");
      if (video.current) video.current.srcObject = stream.current;
    } catch (error) {
      setState(globalThis.isSecureContext ? failureOf(error) : "insecure");
    }
  };
  const end = () => {
    stop();
    setState("idle");
  };
  const on = state === "ok";
  return html`<section class="panel device-test" aria-labelledby="test-title">
    <h2 id="test-title">${t("help.test_title")}</h2>
    <p class="muted">${t("help.test_text")}</p>
    <video ref=${video} class="device-video" autoplay muted playsinline hidden=${!on} aria-label=${t("help.preview")}></video>
    <div role="status">
      ${state === "asking" && html`<p class="row"><${Spinner} /> ${t("help.asking")}</p>`}
      ${on && html`<${Notice} kind="good" testid="device-result">${t("help.works")}<//>`}
      ${!["idle", "asking", "ok"].includes(state) &&
      html`<${Notice} kind="bad" testid="device-result">${t(`help.failed.${state}`)}<//>`}
    </div>
    <div>
      ${on
        ? html`<button type="button" class="button" onClick=${end}>${t("help.stop")}</button>`
        : html`<button type="button" class="button button-accent" onClick=${run} disabled=${state === "asking"} data-testid="device-test">
            <${Icon} name="camera" />${t("help.test")}
          </button>`}
    </div>
  </section>`;
}

/** Tabs by the ARIA pattern: arrows move, one tab stop. */
function BrowserSteps() {
  const here = browserOf(navigator.userAgent, navigator.maxTouchPoints);
  const [chosen, setChosen] = useState(here);
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const at = BROWSERS.indexOf(chosen);
    const to = {
      ArrowRight: (at + 1) % BROWSERS.length,
      ArrowLeft: (at + BROWSERS.length - 1) % BROWSERS.length,
      Home: 0,
      End: BROWSERS.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    setChosen(BROWSERS[to]);
    const tab = list.current?.querySelector(`#tab-${BROWSERS[to]}`);
    if (tab instanceof HTMLElement) tab.focus();
  };
  return html`<section class="panel browser-steps" aria-labelledby="steps-title">
    <h2 id="steps-title">${t("help.steps_title")}</h2>
    <div class="tabs" role="tablist" aria-label=${t("help.browser")} ref=${list} onKeyDown=${onKey}>
      ${BROWSERS.map(
        (name) => html`<button
          key=${name}
          type="button"
          role="tab"
          id=${`tab-${name}`}
          class="chip"
          aria-selected=${name === chosen ? "true" : "false"}
          aria-controls="browser-panel"
          tabindex=${name === chosen ? 0 : -1}
          onClick=${() => setChosen(name)}
          data-testid=${`browser-${name}`}
        >
          ${t(`help.${name}`)}
        </button>`,
      )}
    </div>
    <div id="browser-panel" role="tabpanel" aria-labelledby=${`tab-${chosen}`} tabindex="0">
      ${chosen === here && html`<p class="faint small">${t("help.detected")}</p>`}
      <ol class="steps">
        ${Array.from({ length: STEPS[chosen] }, (_, n) => html`<li key=${`${chosen}-${n}`}>${t(`help.${chosen}.${n + 1}`)}</li>`)}
      </ol>
    </div>
  </section>`;
}

function Help() {
  return html`<div class="help">
    <div>
      <h1>${t("help.title")}</h1>
      <p class="muted help-lead">${t("help.text")}</p>
    </div>
    <div class="help-columns">
      <${DeviceTest} />
      <section class="panel" aria-labelledby="checks-title">
        <h2 id="checks-title">${t("help.checks_title")}</h2>
        <${Capabilities} />
      </section>
    </div>
    <${BrowserSteps} />
    <section class="panel" aria-labelledby="still-title">
      <h2 id="still-title">${t("help.still_title")}</h2>
      <ul class="still">
        ${[1, 2, 3].map((n) => html`<li key=${n}>${t(`help.still.${n}`)}</li>`)}
      </ul>
    </section>
  </div>`;
}

/** @param {HTMLElement} root */
export function mount(root) {
  render(html`<${Help} />`, root);
}
