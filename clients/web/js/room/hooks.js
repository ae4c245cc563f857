// Hooks that the room and the studio share.

import { useEffect, useRef, useState } from "../../vendor/preact-htm.js";

const COUNTDOWN_STEP_MS = 250;

/**
 * The value of a store; the component renders again when it changes.
 * @template T
 * @param {import("../store.js").Store<T>} store
 * @returns {T}
 */
export function useStore(store) {
  const [value, setValue] = useState(store.value);
  useEffect(() => {
    setValue(store.value);
    return store.subscribe((next) => setValue(next));
  }, [store]);
  return value;
}

/**
 * Seconds left of a time that the server gave, for showing only; starts anew with `key`.
 * @param {number} leftMs
 * @param {string} key
 */
export function useCountdown(leftMs, key) {
  const [seconds, setSeconds] = useState(Math.ceil(leftMs / 1000));
  useEffect(() => {
    const endMs = performance.now() + leftMs;
    const show = () => setSeconds(Math.max(0, Math.ceil((endMs - performance.now()) / 1000)));
    show();
    const timer = setInterval(show, COUNTDOWN_STEP_MS);
    return () => clearInterval(timer);
  }, [key]);
  return seconds;
}

/**
 * Single-key shortcuts; silent while someone types or a dialog is open.
 * @param {Record<string, () => void>} actions by lower-case key
 */
export function useKeys(actions) {
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      const target = /** @type {Element | null} */ (event.target);
      if (target?.closest("input, textarea, select, [contenteditable], dialog")) return;
      const action = latest.current[event.key.toLowerCase()];
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

/** @param {boolean} on keeps the screen awake; where that is not possible, nothing happens */
export function useWakeLock(on) {
  useEffect(() => {
    if (!on || !("wakeLock" in navigator)) return undefined;
    /** @type {any} */
    let lock = null;
    let over = false;
    const take = async () => {
      if (document.visibilityState !== "visible") return;
      try {
        lock = await navigator.wakeLock.request("screen");
        if (over) await lock.release();
      } catch {
        // A low battery may forbid it; the session does not depend on it.
      }
    };
    void take();
    document.addEventListener("visibilitychange", take);
    return () => {
      over = true;
      document.removeEventListener("visibilitychange", take);
      void lock?.release();
    };
  }, [on]);
}

/** @param {boolean} on asks before the page is left by mistake */
export function useLeaveWarning(on) {
  useEffect(() => {
    if (!on) return undefined;
    const warn = (/** @type {BeforeUnloadEvent} */ event) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [on]);
}

/**
 * Binds a stream to a media element once, and keeps it playing.
 * @param {MediaStream} stream
 */
export function useStream(stream) {
  const ref = useRef(/** @type {HTMLVideoElement | null} */ (null));
  useEffect(() => {
    const video = ref.current;
    if (video === null) return undefined;
    video.srcObject = stream;
    const play = () => {
      // Refused only with sound and without a gesture; then the sound button shows the way.
      video.play().catch(() => {});
    };
    stream.addEventListener("addtrack", play);
    play();
    return () => stream.removeEventListener("addtrack", play);
  }, [stream]);
  return ref;
}

/** A window that is dragged changes its size with every frame. */
const VIEWPORT_SETTLED_MS = 300;
const PIXELS_MAX = 16_384;

/**
 * Tells the size at which a video's picture is drawn, in device pixels, whenever it changed.
 * @param {import("../../vendor/preact-htm.js").Ref<HTMLVideoElement | null>} ref
 * @param {(width: number, height: number) => void} onSize
 */
export function useDrawnSize(ref, onSize) {
  useEffect(() => {
    const video = ref.current;
    if (video === null || typeof ResizeObserver === "undefined") return undefined;
    /** @type {any} */
    let timer = null;
    const tell = () => {
      const { width, height } = drawnSize(video);
      if (width > 0 && height > 0) onSize(width, height);
    };
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(tell, VIEWPORT_SETTLED_MS);
    };
    const observer = new ResizeObserver(soon);
    observer.observe(video);
    video.addEventListener("loadedmetadata", soon);
    tell();
    return () => {
      clearTimeout(timer);
      observer.disconnect();
      video.removeEventListener("loadedmetadata", soon);
    };
  }, []);
}

/**
 * The picture is as large as fits into its box, or as small as fills it (`object-fit: cover`).
 * @param {HTMLVideoElement} video
 */
function drawnSize(video) {
  const { clientWidth, clientHeight, videoWidth, videoHeight } = video;
  const ratio = globalThis.devicePixelRatio || 1;
  let [width, height] = [clientWidth, clientHeight];
  if (videoWidth > 0 && videoHeight > 0) {
    const scales = [clientWidth / videoWidth, clientHeight / videoHeight];
    const cover = getComputedStyle(video).objectFit === "cover";
    const scale = cover ? Math.max(...scales) : Math.min(...scales);
    [width, height] = [videoWidth * scale, videoHeight * scale];
  }
  const pixels = (/** @type {number} */ length) => Math.min(Math.round(length * ratio), PIXELS_MAX);
  return { width: pixels(width), height: pixels(height) };
}

/**
 * A stream that holds exactly this track.
 * @param {MediaStreamTrack | null} track
 */
export function useTrackStream(track) {
  const [stream] = useState(() => new MediaStream());
  const ref = useStream(stream);
  useEffect(() => {
    for (const old of stream.getTracks()) stream.removeTrack(old);
    if (track !== null) {
      stream.addTrack(track);
      // Adding by script fires no event.
      ref.current?.play().catch(() => {});
    }
  }, [track]);
  return ref;
}
