// The checks before going live: what is measured, and what it means. `evaluate` is pure.

/**
 * @typedef {"ok" | "warn" | "block" | "wait"} CheckLevel
 * @typedef {{ id: "picture" | "size" | "sound" | "server", level: CheckLevel, key: string }} Check
 *
 * @typedef {object} Facts
 * @property {boolean} online
 * @property {boolean} hasVideo a live video track
 * @property {number} width
 * @property {number} height
 * @property {number} fps frames that arrived in the last second
 * @property {number | null} luma mean brightness of the picture, 0 to 255; null: not measured yet
 * @property {boolean} still the picture did not change for some seconds
 * @property {boolean} hasAudio a live audio track
 * @property {number} peak loudest level of the last seconds, 0 to 1
 */

/** Under this a picture is called black: a covered lens, not a dim room. */
const BLACK_LUMA = 10;
const SHORT_SIDE_MIN = 480;
const FPS_MIN = 12;
/** A level that room noise alone does not reach with a working microphone turned down. */
const QUIET_PEAK = 0.08;

/**
 * What stands in the way of a good stream. Only a missing picture or server blocks.
 * @param {Facts} facts
 * @returns {Check[]}
 */
export function evaluate(facts) {
  return [pictureCheck(facts), sizeCheck(facts), soundCheck(facts), serverCheck(facts)];
}

/** @param {Check[]} checks */
export function mayGoLive(checks) {
  return checks.every((check) => check.level !== "block");
}

/**
 * @param {Facts} facts
 * @returns {Check}
 */
function pictureCheck({ hasVideo, luma, still }) {
  if (!hasVideo) return { id: "picture", level: "block", key: "none" };
  if (luma === null) return { id: "picture", level: "wait", key: "wait" };
  if (luma < BLACK_LUMA) return { id: "picture", level: "warn", key: "black" };
  if (still) return { id: "picture", level: "warn", key: "still" };
  return { id: "picture", level: "ok", key: "ok" };
}

/**
 * @param {Facts} facts
 * @returns {Check}
 */
function sizeCheck({ hasVideo, luma, width, height, fps }) {
  if (!hasVideo || luma === null) return { id: "size", level: "wait", key: "wait" };
  if (Math.min(width, height) < SHORT_SIDE_MIN) return { id: "size", level: "warn", key: "small" };
  if (fps < FPS_MIN) return { id: "size", level: "warn", key: "slow" };
  return { id: "size", level: "ok", key: "ok" };
}

/**
 * @param {Facts} facts
 * @returns {Check}
 */
function soundCheck({ hasAudio, peak }) {
  if (!hasAudio) return { id: "sound", level: "warn", key: "none" };
  if (peak < QUIET_PEAK) return { id: "sound", level: "warn", key: "quiet" };
  return { id: "sound", level: "ok", key: "ok" };
}

/**
 * @param {Facts} facts
 * @returns {Check}
 */
function serverCheck({ online }) {
  return { id: "server", level: online ? "ok" : "block", key: online ? "ok" : "none" };
}

const SAMPLE_WIDTH = 32;
const SAMPLE_HEIGHT = 18;
/** Sensor noise alone changes a live picture more than this, per pixel. */
const STILL_DIFFERENCE = 0.4;
const STILL_SAMPLES = 4;

/** Measures the picture of a `<video>`; call `sample` about once a second. */
export class PictureProbe {
  /** @type {Uint8ClampedArray | null} */ #last = null;
  #sameCount = 0;
  #frames = 0;
  #atMs = 0;

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.video = video;
    const canvas = document.createElement("canvas");
    canvas.width = SAMPLE_WIDTH;
    canvas.height = SAMPLE_HEIGHT;
    this.paint = canvas.getContext("2d", { willReadFrequently: true });
  }

  /** @returns {Pick<Facts, "width" | "height" | "fps" | "luma" | "still">} */
  sample() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (width === 0 || this.paint === null) {
      return { width: 0, height: 0, fps: 0, luma: null, still: false };
    }
    this.paint.drawImage(this.video, 0, 0, SAMPLE_WIDTH, SAMPLE_HEIGHT);
    const { data } = this.paint.getImageData(0, 0, SAMPLE_WIDTH, SAMPLE_HEIGHT);
    const { luma, difference } = compare(data, this.#last);
    this.#last = data;
    this.#sameCount = difference < STILL_DIFFERENCE ? this.#sameCount + 1 : 0;
    return { width, height, luma, fps: this.#fps(), still: this.#sameCount >= STILL_SAMPLES };
  }

  #fps() {
    const frames = this.video.getVideoPlaybackQuality().totalVideoFrames;
    const nowMs = performance.now();
    const fps = this.#atMs === 0 ? 30 : ((frames - this.#frames) * 1000) / (nowMs - this.#atMs);
    this.#frames = frames;
    this.#atMs = nowMs;
    return fps;
  }
}

/**
 * @param {Uint8ClampedArray} data RGBA
 * @param {Uint8ClampedArray | null} last
 * @returns {{ luma: number, difference: number }} means per pixel; infinite without a `last`
 */
export function compare(data, last) {
  let luma = 0;
  let difference = 0;
  for (let i = 0; i < data.length; i += 4) {
    luma += 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    if (last !== null) {
      difference +=
        Math.abs(data[i] - last[i]) +
        Math.abs(data[i + 1] - last[i + 1]) +
        Math.abs(data[i + 2] - last[i + 2]);
    }
  }
  const pixels = data.length / 4;
  return { luma: luma / pixels, difference: last === null ? Infinity : difference / pixels };
}
