// The chat column: the log, a text box for members, a list of messages for guests.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { has, t } from "../i18n.js";
import { timeOfDay } from "../ui/format.js";
import { Icon } from "../ui/icons.js";

/** Features C3. The server counts code points after NFC, and so do we. */
const TEXT_CHARS_MAX = 500;
const COUNTER_FROM_CHARS = 400;
/** Closer to the end than this, the log follows new lines. */
const FOLLOW_PX = 60;

/**
 * @typedef {import("../state.js").ChatLine} ChatLine
 * @typedef {object} ChatProps
 * @property {ChatLine[]} lines
 * @property {import("../state.js").Preset[]} presets
 * @property {boolean} canType
 * @property {string} ownName
 * @property {boolean} online
 * @property {string | null} circle the session whose two read what is written now
 * @property {(text: string, session: string | null) => Promise<boolean>} onSay
 * @property {(id: string) => Promise<boolean>} onPreset
 */

/** @param {ChatProps} props */
export function Chat(props) {
  const [announce, setAnnounce] = useState("all");
  return html`<div class="chat">
    <${Log} lines=${props.lines} ownName=${props.ownName} announce=${announce} />
    <div class="chat-foot">
      ${props.canType ? html`<${TextBox} ...${props} />` : html`<${PresetPicker} ...${props} />`}
      <label class="chat-announce small muted">
        <input
          type="checkbox"
          checked=${announce === "expert"}
          onChange=${(/** @type {any} */ e) => setAnnounce(e.target.checked ? "expert" : "all")}
        />
        ${t("room.chat_announce_expert")}
      </label>
    </div>
  </div>`;
}

/** @param {{ lines: ChatLine[], ownName: string, announce: string }} props */
function Log({ lines, ownName, announce }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const [following, setFollowing] = useState(true);
  const last = lines[lines.length - 1];
  const toEnd = () => {
    const log = ref.current;
    if (log !== null) log.scrollTop = log.scrollHeight;
  };
  useLayoutEffect(() => {
    if (following) toEnd();
  }, [last?.n]);
  const onScroll = () => {
    const log = ref.current;
    if (log === null) return;
    setFollowing(log.scrollHeight - log.scrollTop - log.clientHeight < FOLLOW_PX);
  };
  return html`<div class="chat-log-frame">
    <div
      class="chat-log"
      role="log"
      aria-live=${announce === "all" ? "polite" : "off"}
      aria-label=${t("room.chat")}
      tabindex="0"
      ref=${ref}
      onScroll=${onScroll}
      data-testid="chat-log"
    >
      ${lines.length === 0 && html`<p class="chat-empty muted">${t("room.chat_empty")}</p>`}
      ${lines.map((line) => html`<${Line} key=${line.n} line=${line} own=${line.name === ownName} />`)}
    </div>
    ${announce === "expert" && html`<${ExpertAnnouncer} last=${last} ownName=${ownName} />`}
    ${!following &&
    html`<button
      type="button"
      class="button chat-newer"
      onClick=${() => {
        setFollowing(true);
        toEnd();
      }}
    >
      <${Icon} name="chevron-down" size=${16} />${t("room.chat_newest")}
    </button>`}
  </div>`;
}

/** Reads out only the expert's lines and those that name the visitor. */
function ExpertAnnouncer({ last, ownName }) {
  const [text, setText] = useState("");
  useEffect(() => {
    if (!last) return;
    const mention = ownName !== "" && last.text.toLowerCase().includes(ownName.toLowerCase());
    if (last.role === "expert" || (mention && last.name !== ownName)) {
      setText(`${last.name}: ${last.text}`);
    }
  }, [last?.n]);
  return html`<p class="visually-hidden" aria-live="polite">${text}</p>`;
}

/** Colour is the server's role and rank; the badge says the same in words. */
function Line({ line, own }) {
  const rank = line.role === "expert" ? "expert" : line.rank;
  const label = line.role === "expert" ? t("room.role.expert") : rankLabel(line);
  return html`<p
    class=${`chat-line role-${line.role} rank-${rank} ${own ? "chat-own" : ""}`}
    data-testid="chat-line"
  >
    <time class="chat-time" datetime=${new Date(line.at_ms).toISOString()}>${timeOfDay(line.at_ms)}</time>
    <span class="chat-name">${line.name}</span>
    ${label && html`<span class="chat-rank">${label}</span>`}
    <span class="chat-text">${line.text}</span>
  </p>`;
}

/** @param {ChatLine} line */
function rankLabel(line) {
  if (line.role === "guest") return t("room.role.guest");
  return line.rank !== "none" && has(`rank.${line.rank}`) ? t(`rank.${line.rank}`) : "";
}

/** @param {ChatProps} props */
function TextBox({ onSay, online, circle }) {
  const [text, setText] = useState("");
  // For whom it was begun: what is written to one person is never said to a room, also when the
  // session ends before it is sent.
  const [meantFor, setMeantFor] = useState(circle);
  const [sending, setSending] = useState(false);
  const length = [...text.normalize("NFC")].length;
  const tooLong = length > TEXT_CHARS_MAX;
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const said = text.trim();
    if (said === "" || tooLong || sending) return;
    setSending(true);
    // Cleared only when it was taken: a refused message must not be lost.
    if (await onSay(said, meantFor)) setText("");
    setSending(false);
  };
  return html`<form class="chat-form" onSubmit=${send}>
    <label class="visually-hidden" for="chat-input">${t("room.chat_write")}</label>
    <input
      id="chat-input"
      class="input"
      autocomplete="off"
      enterkeyhint="send"
      placeholder=${t("room.chat_write")}
      value=${text}
      onInput=${(/** @type {any} */ e) => {
        if (text === "" || meantFor === null) setMeantFor(circle);
        setText(e.target.value);
      }}
      aria-invalid=${tooLong}
      data-testid="chat-input"
    />
    <button
      type="submit"
      class="icon-button chat-send"
      aria-label=${t("room.chat_send")}
      title=${t("room.chat_send")}
      disabled=${!online || tooLong}
      data-testid="chat-send"
    >
      <${Icon} name="send" />
    </button>
    ${length > COUNTER_FROM_CHARS &&
    html`<span class=${`chat-counter small ${tooLong ? "bad" : "muted"}`} role="status">
      ${t("room.chat_count", { length, max: TEXT_CHARS_MAX })}
    </span>`}
  </form>`;
}

/** @param {ChatProps} props */
function PresetPicker({ presets, onPreset, online }) {
  return html`<div class="chat-presets" role="group" aria-label=${t("room.chat_presets")} data-testid="chat-presets">
    <p class="small muted">
      ${t("room.chat_guest")} <a href="/sign-up">${t("room.join_free")}</a>
    </p>
    <div class="chat-preset-list">
      ${presets.map(
        (preset) => html`<button
          key=${preset.id}
          type="button"
          class="chip"
          disabled=${!online}
          onClick=${() => onPreset(preset.id)}
          data-testid="chat-preset"
          data-preset=${preset.id}
        >
          ${preset.text}
        </button>`,
      )}
    </div>
  </div>`;
}
