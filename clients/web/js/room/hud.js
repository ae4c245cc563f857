// The running session: time, cost, balance and time left, exactly as the server's meter says.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { clock, credits, perMinute } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { openTopUp } from "../ui/topup.js";
import { useCountdown } from "./hooks.js";

/** @typedef {import("../state.js").PrivateHud} PrivateHud */

/**
 * "2.99 + 1.00", the rates that are on.
 * @param {PrivateHud} hud
 */
export function rateText(hud) {
  const on = hud.lines.filter((line) => line.on || line.component === "private");
  return on.map((line) => perMinute(line.rate_units_per_s)).join(" + ");
}

/** @param {{ label: string, value: string, testid: string, class?: string, units?: number }} props */
export function Figure({ label, value, testid, class: className = "", units }) {
  return html`<div class=${`figure ${className}`}>
    <span class="figure-label">${label}</span>
    <span class="figure-value numbers" data-testid=${testid} data-units=${units}>${value}</span>
  </div>`;
}

/** @param {{ hud: PrivateHud | null, low: boolean }} props the member's figures */
export function HudFigures({ hud, low }) {
  return html`<div class="hud" data-testid="hud" data-session=${hud?.session}>
    <div class=${`hud-timer numbers ${hud?.paused ? "hud-paused" : ""}`} role="timer" aria-live="off">
      <span class="visually-hidden">${t("room.hud.time")}</span>
      <span data-testid="hud-timer" data-ms=${hud?.held_ms ?? 0}>${clock(hud?.held_ms ?? 0)}</span>
    </div>
    <${Figure}
      class="figure-rate"
      label=${t("room.hud.rate")}
      value=${hud ? t("money.per_min", { amount: rateText(hud) }) : "–"}
      testid="hud-rate"
      units=${hud?.rate_units_per_s}
    />
    <${Figure} label=${t("room.hud.cost")} value=${hud ? credits(hud.cost_units) : "–"} testid="hud-cost" units=${hud?.cost_units} />
    <${Figure}
      label=${t("room.hud.balance")}
      value=${hud?.balance_units == null ? "–" : credits(hud.balance_units)}
      testid="hud-balance"
      units=${hud?.balance_units ?? undefined}
    />
    <${Figure}
      class=${low ? "figure-low" : ""}
      label=${t("room.hud.left")}
      value=${hud?.time_left_s == null ? "–" : clock(hud.time_left_s * 1000)}
      testid="hud-left"
    />
  </div>`;
}

/** Said once per threshold, not every second; the seconds themselves stand in the HUD. */
export function LowBalance({ secondsLeft, cause, onDismiss }) {
  const funds = cause === "balance_empty";
  const text = t(funds ? "room.low_balance" : `room.low.${cause}`, { time: clock(secondsLeft * 1000) });
  return html`<div class="banner banner-warn" data-testid="low-balance">
    <${Icon} name="alert" />
    <p role="alert" class="banner-text">${text}</p>
    ${funds &&
    html`<button type="button" class="button button-accent" onClick=${() => void openTopUp()} data-testid="top-up">
      ${t("room.top_up")}
    </button>`}
    <button type="button" class="icon-button" aria-label=${t("action.dismiss")} onClick=${onDismiss}>
      <${Icon} name="close" size=${16} />
    </button>
  </div>`;
}

/** @param {{ session: any, hud: PrivateHud | null, asExpert?: boolean }} props */
export function Paused({ session, hud, asExpert = false }) {
  const seconds = useCountdown(session.grace_ms_left, `${session.session}:${session.grace_ms_left}`);
  return html`<div class="banner banner-bad" data-testid="paused">
    <${Icon} name="alert" />
    <p class="banner-text">
      <span role="alert">${t("room.paused", { time: clock(hud?.held_ms ?? 0) })}</span>${" "}
      <span class="banner-note">${t(asExpert ? "room.paused_note_expert" : "room.paused_note")}</span>
    </p>
    ${seconds > 0 && html`<span class="numbers banner-count" aria-hidden="true">${seconds} s</span>`}
  </div>`;
}

/** The link to the server is down; shown only when it lasts. */
export function LinkLost({ lost }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (!lost) {
      setShown(false);
      return undefined;
    }
    const timer = setTimeout(() => setShown(true), 1_000);
    return () => clearTimeout(timer);
  }, [lost]);
  if (!shown) return null;
  return html`<div class="banner" role="status" data-testid="link-lost">
    <span class="spinner" aria-hidden="true"></span>
    <p class="banner-text">${t("room.link_lost")}</p>
  </div>`;
}

/** The visitor's own picture; it can be put into any corner, by hand or with the arrow keys. */
export function SelfView({ videoRef, on, onFlip }) {
  // On a phone the lower right corner belongs to the buttons.
  const [corner, setCorner] = useState(() => {
    const phone = matchMedia("(max-width: 40rem)").matches;
    return phone ? { x: 0, y: 0 } : { x: 1, y: 1 };
  });
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const [drag, setDrag] = useState(/** @type {{ x: number, y: number } | null} */ (null));
  const start = useRef({ x: 0, y: 0 });
  const down = (/** @type {PointerEvent} */ event) => {
    if (event.target instanceof Element && event.target.closest("button")) return;
    frame.current?.setPointerCapture(event.pointerId);
    start.current = { x: event.clientX, y: event.clientY };
    setDrag({ x: 0, y: 0 });
  };
  const move = (/** @type {PointerEvent} */ event) => {
    if (drag !== null) setDrag({ x: event.clientX - start.current.x, y: event.clientY - start.current.y });
  };
  const up = () => {
    const box = frame.current?.getBoundingClientRect();
    const stage = frame.current?.parentElement?.getBoundingClientRect();
    if (drag !== null && box && stage) {
      setCorner({
        x: box.left + box.width / 2 > stage.left + stage.width / 2 ? 1 : 0,
        y: box.top + box.height / 2 > stage.top + stage.height / 2 ? 1 : 0,
      });
    }
    setDrag(null);
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    const to = { ArrowLeft: { x: 0 }, ArrowRight: { x: 1 }, ArrowUp: { y: 0 }, ArrowDown: { y: 1 } }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    setCorner({ ...corner, ...to });
  };
  return html`<div
    class=${`self-view corner-${corner.x}${corner.y} ${drag ? "self-view-dragged" : ""}`}
    style=${drag ? { translate: `${drag.x}px ${drag.y}px` } : {}}
    ref=${frame}
    hidden=${!on}
    role="group"
    aria-label=${t("room.self_view")}
    tabindex="0"
    onPointerDown=${down}
    onPointerMove=${move}
    onPointerUp=${up}
    onPointerCancel=${up}
    onKeyDown=${key}
    data-testid="self-view"
  >
    <video ref=${videoRef} muted autoplay playsinline disablepictureinpicture></video>
    ${onFlip &&
    html`<button type="button" class="icon-button stage-button" aria-label=${t("room.flip")} title=${t("room.flip")} onClick=${onFlip} data-testid="flip">
      <${Icon} name="flip" />
    </button>`}
  </div>`;
}

