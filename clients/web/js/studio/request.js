// The request card: who asks, how much time their balance gives, and how long it still rings.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { has, t } from "../i18n.js";
import { useCountdown } from "../room/hooks.js";
import { perMinuteText } from "../ui/format.js";
import { Icon } from "../ui/icons.js";

const SOUND_KEY = "parlour.ring";
const FLASH_MS = 1_000;
const RING_EVERY_MS = 2_000;
const TONES_HZ = [659, 880];

/** Whether a request rings aloud; off until the expert wants it. */
export function useRingSound() {
  const [on, setOn] = useState(() => {
    try {
      return localStorage.getItem(SOUND_KEY) === "on";
    } catch {
      return false;
    }
  });
  const set = (/** @type {boolean} */ value) => {
    setOn(value);
    try {
      localStorage.setItem(SOUND_KEY, value ? "on" : "off");
    } catch {
      // Storage is blocked: the choice holds for this page only.
    }
  };
  return { on, set };
}

/** Two soft tones, again and again while it rings. */
function useRinging(/** @type {boolean} */ on) {
  useEffect(() => {
    if (!on) return undefined;
    const context = new AudioContext();
    const ring = () => {
      TONES_HZ.forEach((frequency, index) => {
        const startS = context.currentTime + index * 0.22;
        const oscillator = context.createOscillator();
        const gain = context.createGain();
        oscillator.frequency.value = frequency;
        gain.gain.setValueAtTime(0, startS);
        gain.gain.linearRampToValueAtTime(0.12, startS + 0.02);
        gain.gain.exponentialRampToValueAtTime(0.001, startS + 0.5);
        oscillator.connect(gain).connect(context.destination);
        oscillator.start(startS);
        oscillator.stop(startS + 0.5);
      });
    };
    ring();
    const timer = setInterval(ring, RING_EVERY_MS);
    return () => {
      clearInterval(timer);
      void context.close();
    };
  }, [on]);
}

/** The tab's title changes while it rings, so that it is seen from another tab. */
function useTitleFlash(/** @type {string} */ text) {
  useEffect(() => {
    const before = document.title;
    let shown = false;
    const timer = setInterval(() => {
      shown = !shown;
      document.title = shown ? text : before;
    }, FLASH_MS);
    return () => {
      clearInterval(timer);
      document.title = before;
    };
  }, []);
}

/** @param {{ incoming: import("../state.js").PrivateIncoming, sound: boolean, busy: boolean, onAccept: () => void, onDecline: () => void }} props */
export function RequestCard({ incoming, sound, busy, onAccept, onDecline }) {
  const { session, member_rank: rank, balance_band: band, rate_units_per_s: rate } = incoming;
  const seconds = useCountdown(session.ring_ms_left, session.session);
  useTitleFlash(t("studio.request_title", { member: session.member }));
  useRinging(sound);
  return html`<section class="stage-panel request-card" aria-labelledby="request-title" data-testid="request-card">
    <h2 id="request-title" class="stage-panel-title">
      <span role="alert">${t("studio.request", { member: session.member })}</span>
    </h2>
    <p class="request-facts">
      ${rank !== "none" && has(`rank.${rank}`) && html`<span class=${`chat-rank rank-${rank}`}>${t(`rank.${rank}`)}</span>`}
      <span class="badge" data-testid="balance-band" data-band=${band}>${t(`studio.band.${band}`)}</span>
    </p>
    <p class="muted small">
      ${t("studio.request_rate")} <span class="price">${perMinuteText(rate)}</span>
    </p>
    <p class="countdown numbers" aria-hidden="true">${seconds}</p>
    <div class="request-actions">
      <button type="button" class="button button-quiet button-large" disabled=${busy} onClick=${onDecline} data-testid="decline">
        ${t("studio.decline")}
      </button>
      <button type="button" class="button button-accent button-large" disabled=${busy} onClick=${onAccept} data-testid="accept">
        <${Icon} name="check" />${t("studio.accept")}
      </button>
    </div>
  </section>`;
}
