// How long there is until an instant of the server's clock; the server alone decides at its end.

import { useEffect, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** Timers may fire a little early; then the same text would stand for another step. */
const LATE_MS = 20;

/**
 * "23 h 59 min", "59 min", "59 s": what is left of the smallest part shown counts as begun.
 * @param {number} ms
 */
export function leftText(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  if (seconds < 60) return t("left.s", { s: seconds });
  const minutes = Math.ceil(ms / MINUTE_MS);
  if (minutes < 60) return t("left.min", { min: minutes });
  return t("left.h_min", { h: Math.floor(minutes / 60), min: minutes % 60 });
}

/**
 * When the text changes next.
 * @param {number} ms left
 */
export function nextStepMs(ms) {
  const step = ms <= MINUTE_MS ? 1_000 : MINUTE_MS;
  return (ms % step || step) + LATE_MS;
}

/**
 * What is left until `untilMs`, 0 when it is over; renders again whenever the text changes.
 * @param {number} untilMs of the server's clock
 * @param {number} aheadMs how far that is ahead of this machine's
 */
export function useLeft(untilMs, aheadMs) {
  const leftNow = () => Math.max(0, untilMs - aheadMs - Date.now());
  const [left, setLeft] = useState(leftNow);
  useEffect(() => {
    const ms = leftNow();
    if (ms !== left) setLeft(ms);
    if (ms === 0) return undefined;
    const timer = setTimeout(() => setLeft(leftNow()), Math.min(nextStepMs(ms), HOUR_MS));
    return () => clearTimeout(timer);
  }, [untilMs, aheadMs, left]);
  return left;
}
