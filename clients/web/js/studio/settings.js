// Prices, switches and texts; locked while somebody pays by them.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { perMinute } from "../ui/format.js";
import { Notice } from "../ui/parts.js";
import { toast } from "../ui/toast.js";

const PRICE_FIELDS = /** @type {const} */ (["private", "cam2cam", "two_way_audio"]);
/** Features D4: 0.99 to 99.99 a minute; a surcharge may be nothing. */
const PRICE_MAX = 9_999;
const PRIVATE_MIN = 99;

/**
 * "2.99" or "2,99" a minute as hundredths, which are units per second.
 * @param {string} text
 * @returns {number | null}
 */
export function priceFromText(text) {
  const match = /^(\d{1,2})(?:[.,](\d{1,2}))?$/.exec(text.trim());
  if (match === null) return null;
  return Number(match[1]) * 100 + Number((match[2] ?? "").padEnd(2, "0"));
}

/**
 * @param {string} field
 * @param {string} text
 */
function priceWrong(field, text) {
  const price = priceFromText(text);
  return price === null || price > PRICE_MAX || (field === "private" && price < PRIVATE_MIN);
}

/** @param {{ controller: import("./controller.js").StudioController, local: any, locked: boolean }} props */
export function Settings({ controller, local, locked }) {
  const { studio } = local;
  const fresh = () => ({
    private: perMinute(studio.prices.private),
    cam2cam: perMinute(studio.prices.cam2cam),
    two_way_audio: perMinute(studio.prices.two_way_audio),
    camOn: studio.cam2cam,
    audioOn: studio.two_way_audio,
    headline: studio.expert.headline,
    about: studio.expert.about,
  });
  const [form, setForm] = useState(fresh);
  useEffect(() => setForm(fresh()), [studio]);
  const set = (/** @type {object} */ change) => setForm({ ...form, ...change });
  const wrong = PRICE_FIELDS.filter((field) => priceWrong(field, form[field]));
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (wrong.length > 0 || locked) return;
    const prices = Object.fromEntries(PRICE_FIELDS.map((field) => [field, priceFromText(form[field])]));
    const { camOn: cam2cam, audioOn: two_way_audio, headline, about } = form;
    if (await controller.change({ prices, cam2cam, two_way_audio, headline, about })) {
      toast(t("studio.saved"), "good");
    }
  };
  return html`<form class="settings" onSubmit=${save} data-testid="settings">
    ${locked && html`<${Notice} kind="info" testid="settings-locked">${t("studio.locked")}<//>`}
    <fieldset class="settings-prices" disabled=${locked}>
      <legend class="field-label">${t("studio.prices")}</legend>
      ${PRICE_FIELDS.map(
        (field) => html`<div key=${field} class="price-field">
          <label for=${`price-${field}`}>${t(`studio.price.${field}`)}</label>
          <input
            id=${`price-${field}`}
            class="input numbers"
            inputmode="decimal"
            autocomplete="off"
            value=${form[field]}
            aria-invalid=${wrong.includes(field)}
            onInput=${(/** @type {any} */ e) => set({ [field]: e.target.value })}
            data-testid=${`price-${field}`}
          />
          ${wrong.includes(field) && html`<span class="field-error">${t(`studio.price_wrong.${field}`)}</span>`}
        </div>`,
      )}
      <${Toggle} label=${t("studio.offer_cam2cam")} on=${form.camOn} onChange=${(/** @type {boolean} */ camOn) => set({ camOn })} testid="offer-cam2cam" />
      <${Toggle} label=${t("studio.offer_two_way_audio")} on=${form.audioOn} onChange=${(/** @type {boolean} */ audioOn) => set({ audioOn })} testid="offer-two-way-audio" />
    </fieldset>
    <fieldset class="stack" disabled=${locked}>
      <legend class="visually-hidden">${t("studio.profile")}</legend>
      <div class="field">
        <label for="headline">${t("studio.headline")}</label>
        <input id="headline" class="input" maxlength="120" value=${form.headline} onInput=${(/** @type {any} */ e) => set({ headline: e.target.value })} />
      </div>
      <div class="field">
        <label for="about">${t("studio.about")}</label>
        <textarea id="about" class="input textarea" rows="5" maxlength="4000" value=${form.about} onInput=${(/** @type {any} */ e) => set({ about: e.target.value })}></textarea>
      </div>
      <button class="button button-accent" disabled=${locked || local.busy || wrong.length > 0} data-testid="save-settings">${t("studio.save")}</button>
    </fieldset>
  </form>`;
}

/** @param {{ label: string, on: boolean, onChange: (on: boolean) => void, testid?: string }} props */
export function Toggle({ label, on, onChange, testid }) {
  return html`<button
    type="button"
    role="switch"
    class="switch"
    aria-checked=${on ? "true" : "false"}
    onClick=${() => onChange(!on)}
    data-testid=${testid}
  >
    <span class="switch-track" aria-hidden="true"><span class="switch-thumb"></span></span>
    <span>${label}</span>
  </button>`;
}
