// Auto-reload in the wallet: the switch, which package, how often a day, and how it is.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { get } from "../api.js";
import { has, t, tn } from "../i18n.js";
import { AutoReloadSwitch, changeAutoReload, useAutoReload } from "../ui/auto-reload.js";
import { credits, creditsText, money } from "../ui/format.js";
import { Notice, Select } from "../ui/parts.js";
import { toast } from "../ui/toast.js";

const DAILY_CAPS = [1, 2, 3, 5, 10];

/** @param {{ id: string, label: string, value: string, options: [string, string][], onChoose: (value: string) => void }} props */
function SettingSelect({ id, label, value, options, onChoose }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <${Select} id=${id} value=${value} options=${options} onChoose=${onChoose} />
  </div>`;
}

/** @param {Partial<import("../ui/auto-reload.js").AutoReload>} change */
async function save(change) {
  if (await changeAutoReload(change)) toast(t("reload.saved"), "good");
}

export function AutoReloadBox() {
  const settings = useAutoReload();
  const [packages, setPackages] = useState(/** @type {import("../ui/purchase.js").Package[]} */ ([]));
  useEffect(() => {
    get("/wallet/packages").then(
      (offer) => setPackages(offer.packages),
      () => {},
    );
  }, []);
  const caps = [...new Set([...DAILY_CAPS, ...(settings ? [settings.daily_cap] : [])])].sort((a, b) => a - b);
  return html`<section class="panel wallet-reload" aria-labelledby="reload-title" data-testid="auto-reload">
    <h2 id="reload-title" class="visually-hidden">${t("reload.title")}</h2>
    <div class="reload-head">
      <${AutoReloadSwitch} describedBy="reload-text" />
      ${settings && html`<${ReloadState} settings=${settings} />`}
    </div>
    <p class="muted small" id="reload-text">
      ${t("reload.text", { threshold: credits(settings?.threshold_units ?? 42_000) })}
    </p>
    ${settings?.notice &&
    has(`reload.notice.${settings.notice}`) &&
    html`<${Notice} kind="warn" testid="reload-notice">${t(`reload.notice.${settings.notice}`)}<//>`}
    <div class="reload-fields">
      <${SettingSelect}
        id="reload-package"
        label=${t("reload.package")}
        value=${settings?.package ?? ""}
        options=${packages.map((one) => [
          one.id,
          `${creditsText(one.credits_units)} – ${money(one.price_minor, one.currency)}`,
        ])}
        onChoose=${(/** @type {string} */ id) => save({ package: id })}
      />
      <${SettingSelect}
        id="reload-cap"
        label=${t("reload.daily_cap")}
        value=${String(settings?.daily_cap ?? "")}
        options=${caps.map((cap) => [String(cap), tn("reload.times", cap)])}
        onChoose=${(/** @type {string} */ cap) => save({ daily_cap: Number(cap) })}
      />
    </div>
  </section>`;
}

/** @param {{ settings: import("../ui/auto-reload.js").AutoReload }} props */
function ReloadState({ settings }) {
  const state = settings.enabled ? settings.state : "off";
  const kind = { armed: "live", in_flight: "accent", backoff: "warn" }[state] ?? "neutral";
  const key = `reload.state.${state}`;
  return html`<span class=${`badge badge-${kind}`} data-testid="reload-state" role="status">
    ${t(has(key) ? key : "reload.state.off")}
  </span>`;
}
