// Before going live: where picture and sound come from, and whether they are good.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { deviceIdOf, devicesBlocked, listDevices, onDevicesChanged, watchLevel } from "../devices.js";
import { t } from "../i18n.js";
import { allowStepsText, problemText } from "../room/words.js";
import { Dialog } from "../ui/dialog.js";
import { Icon } from "../ui/icons.js";
import { Notice } from "../ui/parts.js";
import { toast } from "../ui/toast.js";
import { isOnAir } from "./controller.js";
import { PictureProbe, evaluate, mayGoLive } from "./checks.js";

const PROBE_MS = 1_000;
/** How long a loud moment counts as "we hear you". */
const PEAK_KEPT_MS = 8_000;

/** @typedef {import("./controller.js").StudioController} StudioController */

/** @param {{ controller: StudioController, server: any, local: any, preview: any }} props */
export function Setup({ controller, server, local, preview }) {
  return html`<div class="setup">
    <${SourcePicker} controller=${controller} source=${local.source} />
    ${local.source === "browser"
      ? html`<${BrowserSetup} controller=${controller} server=${server} local=${local} preview=${preview} />`
      : html`<${EncoderSetup} controller=${controller} server=${server} local=${local} />`}
  </div>`;
}

function SourcePicker({ controller, source }) {
  const choices = /** @type {const} */ ([
    ["browser", "camera"],
    ["encoder", "studio"],
  ]);
  return html`<fieldset class="setup-step">
    <legend class="setup-title"><span class="step-number">1</span>${t("studio.source")}</legend>
    <div class="source-choices">
      ${choices.map(
        ([id, icon]) => html`<label key=${id} class="choice">
          <input
            type="radio"
            name="source"
            value=${id}
            checked=${source === id}
            onChange=${() => controller.setSource(id)}
            data-testid=${`source-${id}`}
          />
          <span class="source-label">
            <span class="priced-switch-title"><${Icon} name=${icon} size=${18} />${t(`studio.source.${id}`)}</span>
            <span class="small muted">${t(`studio.source.${id}.text`)}</span>
          </span>
        </label>`,
      )}
    </div>
  </fieldset>`;
}

/** The devices there are, kept up to date. */
function useDevices(/** @type {unknown} */ trigger) {
  const [devices, setDevices] = useState({ cameras: [], microphones: [] });
  useEffect(() => {
    if (devicesBlocked() !== null) return undefined;
    const read = () => listDevices().then((found) => setDevices(/** @type {any} */ (found)));
    void read();
    return onDevicesChanged(read);
  }, [trigger]);
  return devices;
}

/** Facts about the preview, measured while it is shown. */
function useFacts(local, online, preview) {
  const [picture, setPicture] = useState({ width: 0, height: 0, fps: 0, luma: null, still: false });
  const peak = useRef({ level: 0, atMs: 0 });
  const { video, audio } = local.own;
  useEffect(() => {
    if (video === null || preview.current === null) {
      setPicture({ width: 0, height: 0, fps: 0, luma: null, still: false });
      return undefined;
    }
    const probe = new PictureProbe(preview.current);
    const timer = setInterval(() => setPicture(/** @type {any} */ (probe.sample())), PROBE_MS);
    return () => clearInterval(timer);
  }, [video]);
  const heard = (/** @type {number} */ level) => {
    const nowMs = performance.now();
    if (level >= peak.current.level || nowMs - peak.current.atMs > PEAK_KEPT_MS) {
      peak.current = { level, atMs: nowMs };
    }
  };
  const facts = {
    ...picture,
    online,
    hasVideo: video !== null,
    hasAudio: audio !== null,
    peak: peak.current.level,
  };
  return { facts, heard };
}

function BrowserSetup({ controller, server, local, preview }) {
  const { own, problems } = local;
  const devices = useDevices(own.video ?? own.audio);
  const { facts, heard } = useFacts(local, server.link === "online", preview);
  const blocked = devicesBlocked();
  useEffect(() => {
    void openIfAllowed(controller);
  }, []);
  if (blocked !== null) {
    return html`<${Notice} kind="warn" testid="devices-blocked">
      <p>${t(`devices.blocked.${blocked}`)}</p>
      <p class="small"><a href="/help/camera">${t("devices.help")}</a></p>
    <//>`;
  }
  const checks = evaluate(facts);
  const opened = own.video !== null || own.audio !== null;
  return html`<section class="setup-step" aria-labelledby="setup-devices">
      <h2 id="setup-devices" class="setup-title"><span class="step-number">2</span>${t("studio.check")}</h2>
      ${!opened &&
      html`<button type="button" class="button button-outline button-block" onClick=${() => openBoth(controller)} data-testid="open-devices">
        <${Icon} name="camera" />${t("studio.open_devices")}
      </button>`}
      <${Problem} problem=${problems.video} /><${Problem} problem=${problems.audio} />
      <${DevicePicker} kind="video" label=${t("studio.camera")} choices=${devices.cameras} track=${own.video} controller=${controller} />
      <${DevicePicker} kind="audio" label=${t("studio.microphone")} choices=${devices.microphones} track=${own.audio} controller=${controller} />
      ${own.audio && html`<${LevelBar} track=${own.audio} onLevel=${heard} />`}
      <ul class="checks" aria-label=${t("studio.checks")}>
        ${checks.map((check) => html`<${CheckLine} key=${check.id} check=${check} facts=${facts} />`)}
      </ul>
    </section>
    <section class="setup-step setup-go">
      <button
        type="button"
        class="button button-accent button-large button-block"
        disabled=${!mayGoLive(checks) || local.busy}
        onClick=${() => controller.goLive()}
        data-testid="go-live"
      >
        <${Icon} name="studio" />${t("studio.go_live")}
      </button>
      <p class="small muted">${t("studio.go_live_note")}</p>
    </section>`;
}

/** Browsers that were allowed before show the picture at once; others wait for the button. */
async function openIfAllowed(controller) {
  if (controller.local.own.video !== null || devicesBlocked() !== null) return;
  try {
    const { state } = await navigator.permissions.query(/** @type {any} */ ({ name: "camera" }));
    if (state === "granted") await openBoth(controller);
  } catch {
    // This browser does not tell; the button does.
  }
}

/** @param {StudioController} controller */
async function openBoth(controller) {
  await controller.openDevice("video");
  await controller.openDevice("audio");
}

/** @param {{ problem: any }} props */
function Problem({ problem }) {
  if (!problem) return null;
  return html`<${Notice} kind="bad" alert testid="device-problem">
    <p>${problemText(problem)}</p>
    ${problem.problem === "denied" && html`<p class="small">${allowStepsText()}</p>`}
    <p class="small"><a href="/help/camera" target="_blank">${t("devices.help")}</a></p>
  <//>`;
}

/** @param {{ kind: "video" | "audio", label: string, choices: any[], track: MediaStreamTrack | null, controller: StudioController }} props */
export function DevicePicker({ kind, label, choices, track, controller }) {
  const id = `device-${kind}`;
  const current = track === null ? "" : deviceIdOf(track);
  const choose = (/** @type {string} */ value) => {
    if (value === "") controller.closeDevice(kind);
    else void controller.openDevice(kind, value);
  };
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <select
      id=${id}
      class="select"
      value=${current}
      onChange=${(/** @type {any} */ e) => choose(e.target.value)}
      data-testid=${id}
    >
      <option value="">${t(kind === "video" ? "studio.no_camera" : "studio.no_microphone")}</option>
      ${choices.map(
        (choice, index) => html`<option key=${choice.id} value=${choice.id} selected=${choice.id === current}>
          ${choice.label || t("studio.device_number", { label, number: index + 1 })}
        </option>`,
      )}
    </select>
  </div>`;
}

/** The green bar that moves from the left. */
export function LevelBar({ track, onLevel }) {
  const bar = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(
    () =>
      watchLevel(track, (level) => {
        bar.current?.style.setProperty("--level", level.toFixed(3));
        onLevel?.(level);
      }),
    [track],
  );
  return html`<div class="level" role="img" aria-label=${t("studio.level")} data-testid="level">
    <span ref=${bar}></span>
  </div>`;
}

function CheckLine({ check, facts }) {
  const icon = { ok: "check", warn: "alert", block: "close", wait: "clock" }[/** @type {string} */ (check.level)];
  const values = { width: facts.width, height: facts.height, fps: Math.round(facts.fps) };
  return html`<li class=${`check check-${check.level}`} data-testid=${`check-${check.id}`} data-level=${check.level}>
    <${Icon} name=${icon ?? "info"} size=${18} />
    <span><span class="visually-hidden">${t(`studio.check.level.${check.level}`)}: </span>${t(`studio.check.${check.id}.${check.key}`, values)}</span>
  </li>`;
}

/** @param {string} text @param {string} said */
async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    toast(said, "good");
  } catch {
    toast(t("studio.copy_failed"), "bad");
  }
}

function CopyField({ label, value, testid, secret = false }) {
  const id = `copy-${testid}`;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <div class="input-with-button">
      <input id=${id} class="input mono" readonly value=${value} data-testid=${testid} autocomplete="off" spellcheck=${false} />
      ${!secret &&
      html`<button
        type="button"
        class="icon-button"
        aria-label=${t("studio.copy", { what: label })}
        title=${t("studio.copy", { what: label })}
        onClick=${() => copy(value, t("studio.copied", { what: label }))}
      >
        <${Icon} name="copy" />
      </button>`}
    </div>
  </div>`;
}

/** @param {{ controller: StudioController, server: any, local: any, live?: boolean }} props */
export function EncoderSetup({ controller, server, local, live: inConsole = false }) {
  const { studio, key } = local;
  const [asking, setAsking] = useState(false);
  const live = isOnAir(server);
  return html`<section class="setup-step" aria-labelledby="setup-encoder">
    <h2 id="setup-encoder" class="setup-title">${!inConsole && html`<span class="step-number">2</span>`}${t("studio.encoder")}</h2>
    <${CopyField} label=${t("studio.whip_url")} value=${studio.whip_url} testid="whip-url" />
    ${key === null
      ? html`<${CopyField} label=${t("studio.key")} value=${`••••••••${studio.stream_key_hint}`} testid="stream-key-hint" secret />`
      : html`<${CopyField} label=${t("studio.key")} value=${key} testid="stream-key" />
          <p class="small muted">${t("studio.key_once")}</p>`}
    <button type="button" class="button button-outline" onClick=${() => setAsking(true)} data-testid="rotate-key">
      <${Icon} name="refresh" />${t("studio.key_new")}
    </button>
    <p class="encoder-state" role="status" data-testid="encoder-state" data-live=${live}>
      ${live ? html`<${Icon} name="check" />` : html`<span class="spinner" aria-hidden="true"></span>`}
      ${live ? t("studio.encoder_live") : t("studio.encoder_wait")}
    </p>
    <details class="recipe">
      <summary>${t("studio.recipe")}</summary>
      <ol>
        ${[1, 2, 3, 4].map((n) => html`<li key=${n}>${t(`studio.recipe.${n}`)}</li>`)}
      </ol>
    </details>
    ${asking &&
    html`<${Dialog} title=${t("studio.key_new_title")} onClose=${() => setAsking(false)} testid="rotate-dialog">
      <div class="stack">
        <p>${t("studio.key_new_text")}</p>
        <div class="dialog-actions">
          <button type="button" class="button button-quiet" onClick=${() => setAsking(false)}>${t("action.cancel")}</button>
          <button
            type="button"
            class="button button-accent"
            onClick=${() => {
              setAsking(false);
              void controller.rotateKey();
            }}
            data-testid="rotate-confirm"
          >
            ${t("studio.key_new")}
          </button>
        </div>
      </div>
    <//>`}
  </section>`;
}

/** While on air: other devices take over without an interruption. */
export function LiveDevices({ controller, local }) {
  const { own, problems } = local;
  const devices = useDevices(own.video ?? own.audio);
  return html`<section class="setup-step">
    <${Problem} problem=${problems.video} /><${Problem} problem=${problems.audio} />
    <${DevicePicker} kind="video" label=${t("studio.camera")} choices=${devices.cameras} track=${own.video} controller=${controller} />
    <${DevicePicker} kind="audio" label=${t("studio.microphone")} choices=${devices.microphones} track=${own.audio} controller=${controller} />
    ${own.audio && html`<${LevelBar} track=${own.audio} />`}
    <p class="small muted">${t("studio.devices_live")}</p>
  </section>`;
}
