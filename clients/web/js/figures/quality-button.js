// Bars and a word for the connection, and the way to its figures: never the colour alone.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { has, t } from "../i18n.js";
import { PANEL_ID } from "./panel.js";
import { qualityOf } from "./quality.js";

const BUTTON_ID = "connection-quality";
const BARS = [1, 2, 3, 4];
/** @type {Record<string, number>} */
const FILLED = { good: 4, fair: 2, poor: 1, unknown: 0 };

/**
 * A sentence that says it all; the word beside the bars, if any; and what the button is called, which
 * contains that word as it stands: people who speak to their machine say what they read.
 * @param {import("./quality.js").Quality} quality
 * @param {string} name of the other person
 */
export function qualityTexts({ level, reason, whose }, name) {
  const sentence = t(`quality.${whose}.${level}`, { name });
  if (level !== "fair" && level !== "poor") {
    return { sentence, word: "", label: t("quality.button", { quality: sentence }) };
  }
  const short = t(`figures.level.${level}`);
  const word = whose === "other" ? `${name}: ${short}` : short;
  const key = `quality.reason.${reason.split(":")[0]}`;
  const why = has(key) ? t(key) : "";
  return {
    sentence: why ? `${sentence}: ${why}` : sentence,
    word,
    label: t("quality.button", { quality: why ? `${word}, ${why}` : word }),
  };
}

/** @param {{ server: import("../state.js").State, name: string, open: boolean, onToggle: () => void }} props */
export function QualityButton({ server, name, open, onToggle }) {
  const quality = qualityOf(server);
  const { level, reason, whose } = quality;
  const { sentence, word, label } = qualityTexts(quality, name);
  const undecodable = reason.startsWith("codec_unsupported");
  return html`${undecodable && html`<span class="badge" role="status" data-testid="undecodable">${t("room.quality.undecodable")}</span>`}
    <button
      type="button"
      class="quality-button"
      id=${BUTTON_ID}
      aria-label=${label}
      title=${sentence}
      aria-expanded=${open ? "true" : "false"}
      aria-controls=${open ? PANEL_ID : undefined}
      onClick=${onToggle}
      data-testid="quality"
      data-level=${level}
      data-whose=${whose}
    >
      <span class=${`quality quality-${level}`}>
        <span class="quality-bars" aria-hidden="true">
          ${BARS.map((bar) => html`<span key=${bar} class=${bar <= FILLED[level] ? "on" : ""}></span>`)}
        </span>
        ${word && html`<span class="quality-word" aria-hidden="true">${word}</span>`}
      </span>
    </button>
    <${Announced} text=${undecodable ? "" : sentence} troubled=${word !== ""} />`;
}

/** Says trouble, and its end, to those who do not see the bars; nothing while all is well. */
function Announced({ text, troubled }) {
  const [said, setSaid] = useState("");
  const was = useRef(false);
  useEffect(() => {
    if (troubled || was.current) setSaid(text);
    was.current = troubled;
  }, [text, troubled]);
  return html`<span class="visually-hidden" role="status" data-testid="quality-said">${said}</span>`;
}

/** After the panel was closed from within. */
export function focusQuality() {
  document.getElementById(BUTTON_ID)?.focus();
}
