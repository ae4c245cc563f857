// Money, time and dates as text. The page shows what the server counted; it never computes a cost.

import { locale, t } from "../i18n.js";

const UNITS_PER_CREDIT = 6_000;
const UNITS_PER_HUNDREDTH = UNITS_PER_CREDIT / 100;

/** @param {number} hundredths integer */
function twoDecimals(hundredths) {
  return (hundredths / 100).toLocaleString(locale(), {
    minimumFractionDigits: 2,
    maximumFractionDigits: 2,
  });
}

/**
 * Credits with two decimals, "12.40". Halves round to even, as in the server's own texts.
 * @param {number} units
 */
export function credits(units) {
  const size = Math.abs(units);
  const whole = Math.floor(size / UNITS_PER_HUNDREDTH);
  const twiceRest = 2 * (size % UNITS_PER_HUNDREDTH);
  const up = twiceRest > UNITS_PER_HUNDREDTH || (twiceRest === UNITS_PER_HUNDREDTH && whole % 2 === 1);
  const hundredths = whole + (up ? 1 : 0);
  return twoDecimals(units < 0 && hundredths > 0 ? -hundredths : hundredths);
}

/**
 * "12.40 credits"
 * @param {number} units
 */
export function creditsText(units) {
  return t("money.credits", { amount: credits(units) });
}

/**
 * Credits as people write them, with comma or point and at most two decimals.
 * @param {string} text
 * @returns {number | null} units, or null when it is no such number above zero
 */
export function unitsFromText(text) {
  const hundredths = minorFromText(text);
  return hundredths === null ? null : hundredths * UNITS_PER_HUNDREDTH;
}

/**
 * An amount of money as people write it.
 * @param {string} text
 * @returns {number | null} hundredths, or null when it is no such number above zero
 */
export function minorFromText(text) {
  const match = /^(\d{1,6})(?:[.,](\d{1,2}))?$/.exec(text.trim());
  if (match === null) return null;
  const hundredths = Number(match[1]) * 100 + Number((match[2] ?? "").padEnd(2, "0"));
  return hundredths > 0 ? hundredths : null;
}

/**
 * With a sign, for a list of movements: "+27.99", "−2.00".
 * @param {number} units
 */
export function signedCredits(units) {
  if (units === 0) return credits(0);
  return (units > 0 ? "+" : "\u2212") + credits(Math.abs(units));
}

/**
 * Units per second are the same number as hundredths of a credit per minute: 299 is "2.99".
 * @param {number} unitsPerS
 */
export function perMinute(unitsPerS) {
  return twoDecimals(unitsPerS);
}

/**
 * "2.99/min"
 * @param {number} unitsPerS
 */
export function perMinuteText(unitsPerS) {
  return t("money.per_min", { amount: perMinute(unitsPerS) });
}

/**
 * A price of a package in its currency.
 * @param {number} minor hundredths of the currency
 * @param {string} currency ISO 4217
 */
export function money(minor, currency) {
  return (minor / 100).toLocaleString(locale(), { style: "currency", currency });
}

/**
 * A duration as mm:ss, or h:mm:ss from an hour on.
 * @param {number} ms
 */
export function clock(ms) {
  const total = Math.max(0, Math.floor(ms / 1000));
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const hours = Math.floor(total / 3600);
  const rest = `${two(Math.floor((total % 3600) / 60))}:${two(total % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}

/**
 * Date and time, for lists.
 * @param {number} atMs UTC milliseconds
 */
export function dateTime(atMs) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(atMs);
}

/**
 * A day, for what ends on it.
 * @param {number} atMs UTC milliseconds
 */
export function dateOnly(atMs) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(atMs);
}

/**
 * Time of day, for chat.
 * @param {number} atMs UTC milliseconds
 */
export function timeOfDay(atMs) {
  return new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit" }).format(atMs);
}

/**
 * The name of a language in the page's language, "Norwegian".
 * @param {string} code BCP 47
 */
export function languageName(code) {
  try {
    // People say "Norwegian"; only catalogs need to know which of the two it is.
    const spoken = code === "nb" ? "no" : code;
    const name = new Intl.DisplayNames([locale()], { type: "language" }).of(spoken) ?? code;
    return name.charAt(0).toLocaleUpperCase(locale()) + name.slice(1);
  } catch {
    return code;
  }
}
