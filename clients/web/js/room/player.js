// The expert's picture and what lies on it: sound, picture-in-picture, fullscreen, connection.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "../ui/icons.js";
import { useStream } from "./hooks.js";

const VOLUME_KEY = "parlour.volume";

function rememberedVolume() {
  try {
    const volume = Number.parseFloat(localStorage.getItem(VOLUME_KEY) ?? "1");
    return volume >= 0 && volume <= 1 ? volume : 1;
  } catch {
    return 1;
  }
}

/**
 * The player's element and its sound. It starts muted, since browsers play nothing else unasked;
 * `wantSound` (a gesture was made) turns the sound on.
 * @param {MediaStream} stream
 * @param {boolean} wantSound
 */
export function usePlayer(stream, wantSound) {
  const ref = useStream(stream);
  const [muted, setMuted] = useState(true);
  const [volume, setVolume] = useState(rememberedVolume);
  const [playing, setPlaying] = useState(false);
  const [pip, setPip] = useState(false);

  useEffect(() => {
    const video = ref.current;
    if (video === null) return;
    video.muted = muted;
    video.volume = volume;
    if (!muted) video.play().catch(() => setMuted(true));
  }, [muted, volume]);
  useEffect(() => {
    if (wantSound) setMuted(false);
  }, [wantSound]);
  useEffect(() => {
    const video = ref.current;
    if (video === null) return undefined;
    const on = () => setPlaying(video.videoWidth > 0);
    const pipChanged = () => setPip(document.pictureInPictureElement === video);
    const events = ["playing", "resize", "loadeddata"];
    for (const name of events) video.addEventListener(name, on);
    video.addEventListener("enterpictureinpicture", pipChanged);
    video.addEventListener("leavepictureinpicture", pipChanged);
    return () => {
      for (const name of events) video.removeEventListener(name, on);
      video.removeEventListener("enterpictureinpicture", pipChanged);
      video.removeEventListener("leavepictureinpicture", pipChanged);
    };
  }, []);

  return {
    ref,
    muted,
    volume,
    playing,
    pip,
    setMuted,
    /** @param {number} value 0 to 1 */
    setVolume(value) {
      setVolume(value);
      setMuted(value === 0);
      try {
        localStorage.setItem(VOLUME_KEY, String(value));
      } catch {
        // Storage is blocked: the volume holds for this page only.
      }
    },
    togglePip: () => togglePip(ref.current),
  };
}

/** @param {HTMLVideoElement | null} video */
export async function togglePip(video) {
  if (!document.pictureInPictureEnabled || video === null) return;
  try {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await video.requestPictureInPicture();
  } catch {
    // There is no picture yet, or the browser wants a click for it: then it stays as it is.
  }
}

/** @param {Element | null} element */
export async function toggleFullscreen(element) {
  if (!document.fullscreenEnabled) return;
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await element?.requestFullscreen();
  } catch {
    // The browser wants a click for it: then it stays as it is.
  }
}

/** @param {{ player: ReturnType<typeof usePlayer>, hasSound: boolean, onFullscreen: () => void }} props */
export function PlayerControls({ player, hasSound, onFullscreen }) {
  const { muted, volume, pip } = player;
  const canPip = "pictureInPictureEnabled" in document && document.pictureInPictureEnabled;
  const canFullscreen = document.fullscreenEnabled === true;
  return html`<div class="stage-controls">
    ${!hasSound
      ? html`<span class="stage-tag"><${Icon} name="volume-off" size=${16} />${t("room.no_sound")}</span>`
      : html`<${ControlButton}
            icon=${muted ? "volume-off" : "volume"}
            label=${muted ? t("room.unmute") : t("room.mute")}
            pressed=${muted}
            onClick=${() => player.setMuted(!muted)}
            testid="mute"
          />
          <input
            class="volume"
            type="range"
            min="0"
            max="1"
            step="0.05"
            value=${muted ? 0 : volume}
            aria-label=${t("room.volume")}
            onInput=${(/** @type {any} */ e) => player.setVolume(Number.parseFloat(e.target.value))}
          />`}
    <span class="stage-controls-gap"></span>
    ${canPip &&
    html`<${ControlButton} icon="pip" label=${t("room.pip")} pressed=${pip} onClick=${player.togglePip} testid="pip" />`}
    ${canFullscreen &&
    html`<${ControlButton} icon="fullscreen" label=${t("room.fullscreen")} onClick=${onFullscreen} testid="fullscreen" />`}
  </div>`;
}

/** @param {{ icon: string, label: string, onClick: () => void, pressed?: boolean, expanded?: boolean, testid?: string }} props */
export function ControlButton({ icon, label, onClick, pressed, expanded, testid }) {
  return html`<button
    type="button"
    class="icon-button stage-button"
    aria-label=${label}
    title=${label}
    aria-pressed=${pressed}
    aria-expanded=${expanded}
    onClick=${onClick}
    data-testid=${testid}
  >
    <${Icon} name=${icon} />
  </button>`;
}
