// Auto-reload as the server keeps it: one shared copy, and the switch that stands in several places.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { errorText, get, put } from "../api.js";
import { t } from "../i18n.js";
import { toast } from "./toast.js";

/**
 * @typedef {{ enabled: boolean, state: string, threshold_units: number, package: string, daily_cap: number,
 *   notice?: string | null }} AutoReload
 */

/** @type {AutoReload | null} */
let known = null;
/** @type {Set<(value: AutoReload | null) => void>} */
const listeners = new Set();

/** @param {AutoReload | null} value as the server said it */
export function keepAutoReload(value) {
  known = value;
  for (const listener of listeners) listener(value);
}

/** Fetch the settings again if anybody looked at them before: another tab changed them. */
export async function refreshAutoReload() {
  if (known === null) return;
  try {
    keepAutoReload((await get("/wallet")).auto_reload ?? null);
  } catch {
    // The next look will tell.
  }
}

/** The settings as a hook; fetched when nobody did before. */
export function useAutoReload() {
  const [value, setValue] = useState(known);
  useEffect(() => {
    listeners.add(setValue);
    if (known) setValue(known);
    else {
      get("/wallet").then(
        (wallet) => keepAutoReload(wallet.auto_reload ?? null),
        () => {},
      );
    }
    return () => {
      listeners.delete(setValue);
    };
  }, []);
  return value;
}

/**
 * Change the settings on the server; the page shows the new ones only after it agreed.
 * @param {Partial<AutoReload>} change
 * @returns {Promise<boolean>}
 */
export async function changeAutoReload(change) {
  if (!known) return false;
  const { enabled, package: packageId, daily_cap } = { ...known, ...change };
  try {
    const answer = await put("/wallet/auto-reload", { enabled, package: packageId, daily_cap });
    keepAutoReload({ ...known, enabled, package: packageId, daily_cap, ...(answer?.auto_reload ?? answer ?? {}) });
    return true;
  } catch (error) {
    toast(errorText(error), "bad");
    return false;
  }
}

/** @param {{ describedBy?: string }} props */
export function AutoReloadSwitch({ describedBy }) {
  const settings = useAutoReload();
  const [busy, setBusy] = useState(false);
  const on = settings?.enabled ?? false;
  const toggle = async () => {
    setBusy(true);
    await changeAutoReload({ enabled: !on });
    setBusy(false);
  };
  return html`<button
    type="button"
    role="switch"
    class="switch"
    aria-checked=${on ? "true" : "false"}
    aria-describedby=${describedBy}
    disabled=${busy || !settings}
    onClick=${toggle}
    data-testid="auto-reload-switch"
  >
    <span class="switch-track" aria-hidden="true"><span class="switch-thumb"></span></span>
    <span>${t("reload.title")}</span>
  </button>`;
}
