// Before a private session: the dialog with its prices, the switch's confirmation, the ringing.

import { html, useState } from "../../vendor/preact-htm.js";
import { devicesBlocked } from "../devices.js";
import { t, tn } from "../i18n.js";
import { AutoReloadSwitch } from "../ui/auto-reload.js";
import { Dialog } from "../ui/dialog.js";
import { credits, creditsText, perMinute, perMinuteText, unitsFromText } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { Notice } from "../ui/parts.js";
import { openTopUp } from "../ui/topup.js";
import { useCountdown } from "./hooks.js";
import { allowStepsText, problemText } from "./words.js";

const SECONDS_PER_MINUTE = 60;

/** @typedef {import("./controller.js").RoomController} RoomController */

/**
 * A priced switch: what it does, what it adds, and why it cannot be used if it cannot.
 * @param {{ icon: string, title: string, text: string, unitsPerS: number, on: boolean,
 *   reason: string, onChange: (on: boolean) => void, testid: string }} props
 */
function PricedSwitch({ icon, title, text, unitsPerS, on, reason, onChange, testid }) {
  return html`<div class=${`priced-switch ${reason ? "priced-switch-off" : ""}`}>
    <button
      type="button"
      role="switch"
      class="switch"
      aria-checked=${on ? "true" : "false"}
      disabled=${reason !== ""}
      onClick=${() => onChange(!on)}
      data-testid=${testid}
    >
      <span class="switch-track" aria-hidden="true"><span class="switch-thumb"></span></span>
      <span class="priced-switch-label">
        <span class="priced-switch-title"><${Icon} name=${icon} size=${18} />${title}</span>
        <span class="small muted">${reason || text}</span>
      </span>
    </button>
    <span class="price">+${perMinuteText(unitsPerS)}</span>
  </div>`;
}

/**
 * Why a surcharge cannot be chosen here, or "".
 * @param {import("../state.js").ExpertCard} expert
 * @param {"cam2cam" | "two_way_audio"} component
 */
export function surchargeReason(expert, component) {
  if (!expert[component]) return t(`room.${component}.not_offered`, { name: expert.display_name });
  const blocked = devicesBlocked();
  return blocked === null ? "" : t(`devices.blocked.${blocked}`);
}

/** @param {{ controller: RoomController, server: any, local: any }} props */
export function StartDialog({ controller, server, local }) {
  const { expert } = server.room;
  const { prices } = expert;
  const reasons = {
    cam2cam: surchargeReason(expert, "cam2cam"),
    two_way_audio: surchargeReason(expert, "two_way_audio"),
  };
  const [cam2cam, setCam] = useState(local.dialog.cam2cam && reasons.cam2cam === "");
  const [twoWay, setTwoWay] = useState(local.dialog.two_way_audio && reasons.two_way_audio === "");
  const [limit, setLimit] = useState("");
  const limitUnits = unitsFromText(limit);
  const limitWrong = limit.trim() !== "" && limitUnits === null;
  const rate = prices.private + (cam2cam ? prices.cam2cam : 0) + (twoWay ? prices.two_way_audio : 0);
  const available = server.balance?.available_units ?? 0;
  const tooLittle = available < rate * SECONDS_PER_MINUTE;
  const confirm = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (limitWrong || local.busy) return;
    void controller.confirmPrivate({
      cam2cam,
      two_way_audio: twoWay,
      accepted_units_per_s: rate,
      spend_limit_units: limitUnits,
    });
  };
  return html`<${Dialog}
    title=${t("room.start_title", { name: expert.display_name })}
    onClose=${() => controller.closeDialog()}
    testid="start-dialog"
  >
    <form class="stack" onSubmit=${confirm}>
      <div class="price-lines">
        <div class="price-line">
          <span>
            <span class="priced-switch-title">${t("room.component.private")}</span>
            <span class="small muted">${t("room.start_private_text", { name: expert.display_name })}</span>
          </span>
          <span class="price">${perMinuteText(prices.private)}</span>
        </div>
        <${PricedSwitch}
          icon="camera"
          title=${t("room.component.cam2cam")}
          text=${t("room.cam2cam.text", { name: expert.display_name })}
          unitsPerS=${prices.cam2cam}
          on=${cam2cam}
          reason=${reasons.cam2cam}
          onChange=${setCam}
          testid="start-cam2cam"
        />
        <${PricedSwitch}
          icon="mic"
          title=${t("room.component.two_way_audio")}
          text=${t("room.two_way_audio.text", { name: expert.display_name })}
          unitsPerS=${prices.two_way_audio}
          on=${twoWay}
          reason=${reasons.two_way_audio}
          onChange=${setTwoWay}
          testid="start-two-way-audio"
        />
        <div class="price-line price-total">
          <span>${t("room.total_per_minute")}</span>
          <span class="price" data-testid="start-total">${perMinuteText(rate)}</span>
        </div>
      </div>
      <p class="small muted">${t("room.start_fair")}</p>
      <div class="start-options">
        <div class="field">
          <label for="spend-limit">${t("room.spend_limit")}</label>
          <input
            id="spend-limit"
            class="input numbers"
            inputmode="decimal"
            autocomplete="off"
            placeholder=${t("room.spend_limit_none")}
            value=${limit}
            aria-invalid=${limitWrong}
            aria-describedby=${limitWrong ? "spend-limit-wrong" : undefined}
            onInput=${(/** @type {any} */ e) => setLimit(e.target.value)}
            data-testid="spend-limit"
          />
          ${limitWrong &&
          html`<span id="spend-limit-wrong" class="field-error">${t("room.spend_limit_wrong")}</span>`}
        </div>
        <${AutoReloadSwitch} />
      </div>
      ${tooLittle && html`<${TooLittle} rate=${rate} available=${available} />`}
      <${Failure} error=${local.failure} />
      <div class="dialog-actions">
        <span class="small muted numbers">${balanceText(available, rate)}</span>
        <button
          class="button button-accent button-large"
          disabled=${local.busy || limitWrong || tooLittle}
          data-testid="confirm-private"
        >
          ${local.busy ? t("room.please_wait") : t("room.start_confirm", { amount: perMinute(rate) })}
        </button>
      </div>
    </form>
  <//>`;
}

/**
 * @param {number} available
 * @param {number} rate
 */
function balanceText(available, rate) {
  const minutes = minutesFor(available, rate);
  const balance = t("room.balance_is", { amount: creditsText(available) });
  return minutes === null ? balance : `${balance} · ${tn("room.about_minutes", minutes)}`;
}

/**
 * An orientation before anything is bought; during a session the server says how long it lasts.
 * @param {number} available
 * @param {number} rate
 * @returns {number | null} whole minutes
 */
export function minutesFor(available, rate) {
  if (rate <= 0) return null;
  const minutes = Math.floor(available / (rate * SECONDS_PER_MINUTE));
  return minutes > 0 ? minutes : null;
}

function TooLittle({ rate, available }) {
  return html`<${Notice} kind="warn" testid="too-little">
    <p>${t("room.too_little", { amount: credits(rate * SECONDS_PER_MINUTE), balance: credits(available) })}</p>
    <button type="button" class="link-button" onClick=${() => void openTopUp()} data-testid="start-top-up">
      ${t("room.get_credits")}
    </button>
  <//>`;
}

/** What went wrong with the last try, and the way out where there is one. */
export function Failure({ error }) {
  if (error === null || error === undefined) return null;
  const denied = error.name === "DeviceError" && error.problem === "denied";
  const money = error.code === "insufficient_credits" || error.code === "premium_required";
  return html`<${Notice} kind="bad" alert testid="failure">
    <p>${problemText(error)}</p>
    ${denied && html`<p class="small">${allowStepsText()} <a href="/help/camera" target="_blank">${t("devices.help")}</a></p>`}
    ${money &&
    html`<button type="button" class="link-button" onClick=${() => void openTopUp()}>${t("room.get_credits")}</button>`}
  <//>`;
}

/** Guests are asked to join, basic members to become premium; both are told why. */
export function InviteDialog({ kind, expert, onClose }) {
  const here = encodeURIComponent(location.pathname);
  return html`<${Dialog} title=${t(`room.invite.${kind}.title`)} onClose=${onClose} testid=${`invite-${kind}`}>
    <div class="stack">
      <p>${t(`room.invite.${kind}.text`, { name: expert.display_name, amount: perMinute(expert.prices.private) })}</p>
      <div class="dialog-actions">
        ${kind === "join"
          ? html`<a class="button button-quiet" href=${`/sign-in?next=${here}`}>${t("room.sign_in")}</a>
              <a class="button button-accent" href=${`/sign-up?next=${here}`}>${t("room.join_free")}</a>`
          : html`<button
              type="button"
              class="button button-accent"
              onClick=${() => {
                onClose();
                void openTopUp();
              }}
            >
              ${t("room.get_credits")}
            </button>`}
      </div>
    </div>
  <//>`;
}

/** The surcharge is shown and confirmed before the camera or microphone opens. */
export function SwitchDialog({ controller, server, local }) {
  const { component } = local.dialog;
  const price = server.session.prices[component];
  const name = server.room.expert.display_name;
  return html`<${Dialog} title=${t(`room.${component}.on_title`)} onClose=${() => controller.closeDialog()} testid="switch-dialog">
    <div class="stack">
      <p>${t(`room.${component}.text`, { name })}</p>
      <p class="price-line price-total">
        <span>${t("room.surcharge")}</span><span class="price">+${perMinuteText(price)}</span>
      </p>
      <p class="small muted">${t("room.surcharge_fair")}</p>
      <${Failure} error=${local.failure} />
      <div class="dialog-actions">
        <button type="button" class="button button-quiet" onClick=${() => controller.closeDialog()}>
          ${t("action.cancel")}
        </button>
        <button
          type="button"
          class="button button-accent"
          disabled=${local.busy}
          onClick=${() => void controller.switchOn(component)}
          data-testid="confirm-switch"
        >
          ${local.busy ? t("room.please_wait") : t("room.switch_confirm", { amount: perMinute(price) })}
        </button>
      </div>
    </div>
  <//>`;
}

/** Ringing and connecting: free, and said so. */
export function Waiting({ controller, server }) {
  const { session } = server;
  const ringing = session.phase === "ringing";
  const seconds = useCountdown(session.ring_ms_left, `${session.session}:${session.phase}`);
  const name = server.room.expert.display_name;
  return html`<div class="stage-panel" data-testid=${ringing ? "ringing" : "connecting"}>
    <p class="stage-panel-title" role="status">
      ${ringing ? t("room.ringing", { name }) : t("room.connecting", { name })}
    </p>
    ${ringing && html`<p class="countdown numbers" aria-hidden="true">${seconds}</p>`}
    <p class="small muted">${t("room.not_charged_yet")}</p>
    <button type="button" class="button button-outline" onClick=${() => void controller.cancel()} data-testid="cancel-request">
      ${t("action.cancel")}
    </button>
  </div>`;
}
