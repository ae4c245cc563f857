// What to tell people about failures, phases and ends.

import { ApiError, errorText } from "../api.js";
import { DeviceError, browserFamily } from "../devices.js";
import { has, t } from "../i18n.js";

/**
 * @param {unknown} error from the wire, a device or the HTTP API
 * @param {Record<string, string | number>} [values]
 */
export function problemText(error, values = {}) {
  if (error instanceof DeviceError) return t(`devices.${error.kind}.${error.problem}`);
  if (error instanceof ApiError) return errorText(error);
  const code = /** @type {any} */ (error)?.code;
  const data = /** @type {any} */ (error)?.data ?? {};
  for (const key of [`room.error.${code}`, `error.${code}`]) {
    if (has(key)) return t(key, { ...data, ...values });
  }
  return t("error.unknown");
}

/** How to allow devices again in this browser. */
export function allowStepsText() {
  return t(`devices.allow.${browserFamily(navigator.userAgent)}`);
}

/**
 * @param {string} reason an EndReason
 * @param {{ expert: string, member: string }} names
 * @param {boolean} asExpert
 */
export function endText(reason, names, asExpert) {
  const own = `room.end.${asExpert ? "expert" : "member"}.${reason}`;
  return t(has(own) ? own : `room.end.${reason}`, names);
}
