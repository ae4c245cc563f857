// The icons, drawn for this site on a 24-pixel grid with a 1.75-pixel line.

import { html } from "../../vendor/preact-htm.js";

/** @type {Record<string, string>} path data; several paths are separated by "|" */
const PATHS = {
  home: "M4 11.2 12 4.5l8 6.7|M6 9.8V19h12V9.8|M10 19v-5h4v5",
  wallet: "M4 7.5h14a2 2 0 0 1 2 2V18a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 18V6.5A1.5 1.5 0 0 1 5.5 5H17|M20 12h-4a1.75 1.75 0 0 0 0 3.5h4",
  user: "M12 12.2a3.9 3.9 0 1 0 0-7.8 3.9 3.9 0 0 0 0 7.8Z|M4.8 20c.7-3.4 3.6-5.2 7.2-5.2s6.5 1.8 7.2 5.2",
  users: "M9 11.6a3.3 3.3 0 1 0 0-6.6 3.3 3.3 0 0 0 0 6.6Z|M3.2 19c.5-3 2.9-4.7 5.8-4.7s5.3 1.7 5.8 4.7|M15.5 5.3a3.2 3.2 0 0 1 0 6|M17.4 14.7c1.9.7 3.1 2.2 3.4 4.3",
  mic: "M12 14.5a3 3 0 0 0 3-3v-5a3 3 0 0 0-6 0v5a3 3 0 0 0 3 3Z|M5.8 11.5a6.2 6.2 0 0 0 12.4 0|M12 17.7V21",
  "mic-off": "M15 10.2V6.5a3 3 0 0 0-5.7-1.3|M9 9v2.5a3 3 0 0 0 4.6 2.5|M5.8 11.5a6.2 6.2 0 0 0 9.6 5.2|M18.2 11.5a6.2 6.2 0 0 1-.7 2.9|M12 17.7V21|M4 4l16 16",
  camera: "M4.5 6.5h9A1.5 1.5 0 0 1 15 8v8a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16V8a1.5 1.5 0 0 1 1.5-1.5Z|m15 10.5 6-3v9l-6-3",
  "camera-off": "M8 6.5h5.5A1.5 1.5 0 0 1 15 8v5.5|M13.8 17.5H4.5A1.5 1.5 0 0 1 3 16V8c0-.6.3-1.1.8-1.3|m15 10.5 6-3v9l-3.6-1.8|M4 4l16 16",
  heart: "M12 20s-7.8-4.7-7.8-10.3A4.3 4.3 0 0 1 12 7.2a4.3 4.3 0 0 1 7.8 2.5C19.8 15.3 12 20 12 20Z",
  close: "M6 6l12 12|M18 6 6 18",
  check: "m5 12.8 4.5 4.4L19 7",
  alert: "M12 4.2 2.9 19.5h18.2L12 4.2Z|M12 10v4.4|M12 17v.1",
  info: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17Z|M12 11v5.2|M12 7.9V8",
  globe: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17Z|M3.5 12h17|M12 3.5c2.4 2.3 3.6 5.2 3.6 8.5s-1.2 6.2-3.6 8.5c-2.4-2.3-3.6-5.2-3.6-8.5S9.6 5.8 12 3.5",
  logout: "M13.5 4.500H6A1.5 1.5 0 0 0 4.5 6v12A1.5 1.5 0 0 0 6 19.500h7.5|M10 12h10.5|m17 8.5 3.5 3.5-3.5 3.5",
  studio: "M12 14.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z|M7.8 16.200a6 6 0 0 1 0-8.4|M16.2 7.800a6 6 0 0 1 0 8.4|M5 19a10 10 0 0 1 0-14|M19 5a10 10 0 0 1 0 14",
  clock: "M12 20.500a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17Z|M12 7.500V12l3 2",
  plus: "M12 5v14|M5 12h14",
  minus: "M5 12h14",
  "arrow-left": "M19 12H5|m11 6-6 6 6 6",
  "arrow-right": "M5 12h14|m13 6 6 6-6 6",
  "chevron-down": "m6 9.5 6 6 6-6",
  "chevron-right": "m9.5 6 6 6-6 6",
  volume: "M4.5 9.500v5H8l4.5 4v-13l-4.5 4H4.500Z|M15.5 9a4.2 4.2 0 0 1 0 6|M18 6.500a7.8 7.8 0 0 1 0 11",
  "volume-off": "M4.5 9.500v5H8l4.5 4v-13l-4.5 4H4.500Z|m16 9.5 5 5|m21 9.5-5 5",
  fullscreen: "M4.5 9V4.500H9|M15 4.500h4.500V9|M19.5 15v4.500H15|M9 19.500H4.500V15",
  pip: "M4.5 5.500h15A1.5 1.5 0 0 1 21 7v10a1.5 1.5 0 0 1-1.5 1.500h-15A1.5 1.5 0 0 1 3 17V7a1.5 1.5 0 0 1 1.5-1.500Z|M12.5 12H18v3.500h-5.500Z",
  settings: "M4 7h8|M16 7h4|M14 9.200a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.400Z|M4 17h4|M12 17h8|M10 19.200a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.400Z",
  copy: "M9 9h9.500A1.5 1.5 0 0 1 20 10.500V19a1.5 1.5 0 0 1-1.5 1.500H10A1.5 1.5 0 0 1 8.5 19V9.5|M15.5 9V5A1.5 1.5 0 0 0 14 3.500H5.500A1.5 1.5 0 0 0 4 5v8.500A1.5 1.5 0 0 0 5.5 15h3",
  eye: "M2.8 12S6 6 12 6s9.2 6 9.2 6-3.2 6-9.2 6-9.2-6-9.2-6Z|M12 14.700a2.7 2.7 0 1 0 0-5.4 2.7 2.7 0 0 0 0 5.400Z",
  "eye-off": "M9.8 6.300A9 9 0 0 1 12 6c6 0 9.2 6 9.2 6a16 16 0 0 1-2.7 3.4|M15.5 16.900A8.6 8.6 0 0 1 12 18c-6 0-9.2-6-9.2-6a15.5 15.5 0 0 1 4-4.5|M4 4l16 16",
  send: "M4.5 5 20 12 4.5 19l2.3-7L4.5 5Z|M6.8 12H13",
  "end-call": "M3.5 14.500c0-1.6 3.5-4.5 8.5-4.500s8.5 2.9 8.5 4.500v2.200l-4.5-.9v-2.200c-1.2-.5-2.5-.7-4-.700s-2.8.2-4 .7v2.200l-4.5.900v-2.200Z",
  flip: "M20 7.500H8|m11 4.5-3 3 3 3|M4 16.500h12|m13 13.5 3 3-3 3",
  lock: "M7 10.500h10A1.5 1.5 0 0 1 18.5 12v6.500A1.5 1.5 0 0 1 17 20H7a1.5 1.5 0 0 1-1.5-1.500V12A1.5 1.5 0 0 1 7 10.500Z|M8.5 10.500V8a3.5 3.5 0 0 1 7 0v2.5",
  shield: "M12 3.8 5 6.300v5.200c0 4 2.8 7 7 8.7 4.2-1.7 7-4.7 7-8.700V6.300L12 3.800Z|m9 11.8 2.2 2.2 3.9-4",
  card: "M4.5 5.500h15A1.5 1.5 0 0 1 21 7v10a1.5 1.5 0 0 1-1.5 1.500h-15A1.5 1.5 0 0 1 3 17V7a1.5 1.5 0 0 1 1.5-1.500Z|M3 9.800h18|M6.5 14.500h4",
  gift: "M4.5 11.500h15V20h-15v-8.500Z|M3.5 8h17v3.500h-17V8Z|M12 8v12|M12 8c-1.5-3.500-5.500-4.200-5.500-1.800C6.5 7.600 9 8 12 8Z|M12 8c1.5-3.500 5.5-4.200 5.5-1.800C17.5 7.600 15 8 12 8Z",
  receipt: "M6 3.800h12v16.700l-2-1.3-2 1.3-2-1.3-2 1.3-2-1.3-2 1.300V3.800Z|M9 8.500h6|M9 12.500h6",
  refresh: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3|M19.5 4v4h-4",
  chat: "M5.5 5h13A1.5 1.5 0 0 1 20 6.500v8a1.5 1.5 0 0 1-1.5 1.500H11l-4.5 3.500V16h-1A1.5 1.5 0 0 1 4 14.500v-8A1.5 1.5 0 0 1 5.5 5Z",
  signal: "M5 19v-3.5|M10 19v-7|M15 19V8.5|M20 19V5",
};

/**
 * An icon. It is decoration unless it has a `label`.
 * @param {{ name: string, size?: number, label?: string, filled?: boolean, class?: string }} props
 */
export function Icon({ name, size = 20, label, filled = false, class: className = "" }) {
  const paths = (PATHS[name] ?? "").split("|");
  return html`<svg
    class=${`icon ${className}`}
    width=${size}
    height=${size}
    viewBox="0 0 24 24"
    fill=${filled ? "currentColor" : "none"}
    stroke="currentColor"
    stroke-width="1.75"
    stroke-linecap="round"
    stroke-linejoin="round"
    focusable="false"
    role=${label ? "img" : undefined}
    aria-label=${label}
    aria-hidden=${label ? undefined : "true"}
  >
    ${paths.map((d) => html`<path key=${d} d=${d} />`)}
  </svg>`;
}

/** The mark: a lamp over a round table, two seats. */
export function Logo({ size = 30 }) {
  return html`<svg width=${size} height=${size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect x="1" y="1" width="30" height="30" rx="9" class="logo-ground" />
    <path d="M16 6v3.5" class="logo-line" />
    <path d="M9.5 16.500a6.5 6.5 0 0 1 13 0Z" class="logo-shade" />
    <path d="M13.8 18.800a2.2 2.2 0 0 0 4.4 0" class="logo-line" />
    <path d="M8 25c2-1.3 4.8-2 8-2s6 .7 8 2" class="logo-line" />
  </svg>`;
}
