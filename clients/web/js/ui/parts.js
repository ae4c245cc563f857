// Small pieces that several pages show: price, badge, presence, art, empty and error states.

import { html, useMemo } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { perMinute, perMinuteText } from "./format.js";
import { Icon } from "./icons.js";

/** @param {{ unitsPerS: number }} props a price per minute, read out in full */
export function Price({ unitsPerS }) {
  return html`<span class="price">
    <span aria-hidden="true">${perMinuteText(unitsPerS)}</span>
    <span class="visually-hidden">${t("money.per_min_long", { amount: perMinute(unitsPerS) })}</span>
  </span>`;
}

/** @param {{ kind?: "neutral" | "live" | "accent" | "warn" | "bad", children?: any }} props */
export function Badge({ kind = "neutral", children }) {
  return html`<span class=${`badge badge-${kind}`}>${children}</span>`;
}

/** @param {string} state of presence; whether the expert sends at all */
export function isLive(state) {
  return state !== "offline";
}

/**
 * Green dot and the word: never the colour alone.
 * @param {{ state: string }} props
 */
export function PresenceDot({ state }) {
  const live = isLive(state);
  return html`<span class=${`presence ${live ? "presence-live" : ""}`}>
    <span class="presence-dot" aria-hidden="true"></span>${live ? t("presence.live") : t("presence.offline")}
  </span>`;
}

/** @param {{ rows: [string, any][] }} props names and what they are, below one another */
export function Facts({ rows }) {
  return html`<dl class="facts">
    ${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd class="numbers">${value}</dd></div>`)}
  </dl>`;
}

/**
 * A choice between words; its label is its caller's.
 * @param {{ id: string, value: string, options: [string, string][], onChoose: (value: string) => void }} props
 */
export function Select({ id, value, options, onChoose }) {
  return html`<select
    id=${id}
    class="select"
    data-testid=${id}
    onChange=${(/** @type {any} */ event) => onChoose(event.currentTarget.value)}
  >
    ${options.map(([code, text]) => html`<option key=${code} value=${code} selected=${code === value}>${text}</option>`)}
  </select>`;
}

/** @param {{ label?: string }} props */
export function Spinner({ label }) {
  return html`<span class="spinner" role="status"><span class="visually-hidden">${label ?? t("state.loading")}</span></span>`;
}

/**
 * Nothing to show, and what to do about it.
 * @param {{ icon?: string, title: string, text?: string, heading?: string, children?: any }} props
 */
export function EmptyState({ icon = "info", title, text, heading = "h2", children }) {
  return html`<div class="empty-state">
    <span class="empty-icon"><${Icon} name=${icon} size=${28} /></span>
    <${heading}>${title}<//>
    ${text && html`<p class="muted">${text}</p>`} ${children}
  </div>`;
}

/**
 * It went wrong, and the way to try again.
 * @param {{ text: string, onRetry?: () => void }} props
 */
export function ErrorState({ text, onRetry }) {
  return html`<div class="empty-state" role="alert">
    <span class="empty-icon empty-icon-bad"><${Icon} name="alert" size=${28} /></span>
    <h2>${t("error.title")}</h2>
    <p class="muted">${text}</p>
    ${onRetry &&
    html`<button type="button" class="button" onClick=${onRetry} data-testid="retry">
      <${Icon} name="refresh" />${t("action.retry")}
    </button>`}
  </div>`;
}

/**
 * A line of a form's or page's own message.
 * @param {{ kind?: "info" | "good" | "warn" | "bad", children?: any, alert?: boolean, testid?: string }} props
 */
export function Notice({ kind = "info", children, alert = false, testid }) {
  const icon = { info: "info", good: "check", warn: "alert", bad: "alert" }[kind];
  return html`<div class=${`notice notice-${kind}`} role=${alert ? "alert" : undefined} data-testid=${testid}>
    <${Icon} name=${icon} /><div>${children}</div>
  </div>`;
}

/** @param {string} text a stable 32-bit number (FNV-1a) */
function hash(text) {
  let value = 0x811c9dc5;
  for (const char of text) {
    value ^= char.codePointAt(0) ?? 0;
    value = Math.imul(value, 0x01000193) >>> 0;
  }
  // Short names differ in few bits only; mix them before use.
  value ^= value >>> 15;
  value = Math.imul(value, 0x85ebca6b) >>> 0;
  return (value ^ (value >>> 13)) >>> 0;
}

/** Pairs that sit well on the dark ground: sky above, ground below (hue, saturation). */
const SKIES = [
  [206, 34, 172, 26],
  [262, 24, 222, 30],
  [22, 40, 342, 26],
  [160, 26, 200, 30],
  [36, 42, 12, 32],
  [232, 28, 190, 30],
  [328, 24, 262, 26],
  [96, 20, 168, 28],
  [192, 36, 28, 38],
  [250, 26, 12, 34],
  [180, 22, 142, 22],
];

/**
 * A calm picture from a name, where no photograph is: dusk, a moon and three ridges.
 * @param {{ name: string, class?: string }} props
 */
export function Art({ name, class: className = "" }) {
  const art = useMemo(() => {
    const seed = hash(name);
    const part = (/** @type {number} */ shift, /** @type {number} */ n) => (seed >>> shift) % n;
    const [h1, s1, h2, s2] = SKIES[part(20, SKIES.length)];
    const ridge = (/** @type {number} */ y, /** @type {number} */ k) => {
      const a = y - 14 - part(k, 16);
      const b = y + 4 + part(k + 3, 10);
      const c = y - 8 - part(k + 6, 18);
      return `M0 ${y} C 60 ${a} 110 ${a} 160 ${b} S 270 ${c} 320 ${y - 6} V240 H0Z`;
    };
    return {
      id: `art-${seed.toString(36)}`,
      top: `hsl(${h1} ${s1}% 24%)`,
      low: `hsl(${h2} ${s2}% 46%)`,
      moon: `hsl(${h2} 52% 84%)`,
      moonX: 70 + part(5, 180),
      moonY: 56 + part(9, 50),
      moonR: 20 + part(13, 16),
      ridges: [
        { d: ridge(164, 2), fill: `hsl(${h1} ${s1}% 27%)` },
        { d: ridge(190, 7), fill: `hsl(${h1} ${s1}% 19%)` },
        { d: ridge(216, 11), fill: `hsl(${h1} ${s1}% 12%)` },
      ],
    };
  }, [name]);
  return html`<svg class=${`art ${className}`} viewBox="0 0 320 240" preserveAspectRatio="xMidYMid slice" aria-hidden="true" focusable="false">
    <defs>
      <linearGradient id=${art.id} x1="0" y1="0" x2="0" y2="1">
        <stop offset="0" stop-color=${art.top} />
        <stop offset="0.85" stop-color=${art.low} />
      </linearGradient>
    </defs>
    <rect width="320" height="240" fill=${`url(#${art.id})`} />
    <circle cx=${art.moonX} cy=${art.moonY} r=${art.moonR * 2.1} fill=${art.moon} opacity="0.08" />
    <circle cx=${art.moonX} cy=${art.moonY} r=${art.moonR * 1.45} fill=${art.moon} opacity="0.12" />
    <circle cx=${art.moonX} cy=${art.moonY} r=${art.moonR} fill=${art.moon} opacity="0.85" />
    ${art.ridges.map((r) => html`<path key=${r.d} d=${r.d} fill=${r.fill} />`)}
  </svg>`;
}
