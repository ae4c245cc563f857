// Camera and microphone: choosing, opening, remembering, listening to the level, failing readably.

/**
 * @typedef {"audio" | "video"} Kind
 * @typedef {"insecure" | "unsupported" | "denied" | "missing" | "busy" | "unsuitable" | "failed"} DeviceProblem
 * @typedef {{ id: string, label: string }} DeviceChoice
 * @typedef {{ cameras: DeviceChoice[], microphones: DeviceChoice[] }} Devices
 */

const REMEMBERED = { video: "parlour.camera", audio: "parlour.microphone" };
/** Below this a room is silent; the bar starts here. */
const LEVEL_FLOOR_DB = -60;
const LEVEL_EVERY_MS = 50;

/** Why a device did not open; the words are `devices.problem.<problem>`. */
export class DeviceError extends Error {
  /**
   * @param {DeviceProblem} problem
   * @param {Kind} kind
   */
  constructor(problem, kind) {
    super(`${kind}: ${problem}`);
    this.name = "DeviceError";
    this.problem = problem;
    this.kind = kind;
  }
}

/**
 * Why devices cannot be used at all in this page, before anyone is asked for permission.
 * @returns {"insecure" | "unsupported" | null}
 */
export function devicesBlocked() {
  if (!globalThis.isSecureContext) return "insecure";
  if (typeof navigator.mediaDevices?.getUserMedia !== "function") return "unsupported";
  return null;
}

/** Whether the browser can watch at all. */
export function watchingSupported() {
  return typeof globalThis.RTCPeerConnection === "function";
}

/**
 * What the browser's error means for a person.
 * @param {unknown} error
 * @returns {DeviceProblem}
 */
export function problemOf(error) {
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return "denied";
    case "NotFoundError":
      return "missing";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    case "OverconstrainedError":
      return "unsuitable";
    default:
      return "failed";
  }
}

/**
 * The family of this browser, to choose the help text by; never to decide what is possible.
 * @param {string} agent
 * @returns {"firefox" | "edge" | "samsung" | "chrome" | "safari" | "other"}
 */
export function browserFamily(agent) {
  if (/Firefox|FxiOS/.test(agent)) return "firefox";
  if (/Edg(e|A|iOS)?\//.test(agent)) return "edge";
  if (/SamsungBrowser/.test(agent)) return "samsung";
  if (/Chrome|Chromium|CriOS/.test(agent)) return "chrome";
  if (/Safari/.test(agent)) return "safari";
  return "other";
}

/**
 * The device that the visitor chose last time, or "".
 * @param {Kind} kind
 */
export function remembered(kind) {
  try {
    return localStorage.getItem(REMEMBERED[kind]) ?? "";
  } catch {
    return ""; // storage is blocked: then nothing is remembered
  }
}

/**
 * @param {Kind} kind
 * @param {string} id
 */
export function remember(kind, id) {
  try {
    localStorage.setItem(REMEMBERED[kind], id);
  } catch {
    // Storage is blocked: the choice holds for this page only.
  }
}

/**
 * The devices there are. Labels are empty until one was allowed.
 * @returns {Promise<Devices>}
 */
export async function listDevices() {
  const all = await navigator.mediaDevices.enumerateDevices();
  const of = (/** @type {string} */ kind) =>
    all
      .filter((device) => device.kind === kind && device.deviceId !== "")
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
  return { cameras: of("videoinput"), microphones: of("audioinput") };
}

/**
 * @param {() => void} changed called when a device comes or goes
 * @returns {() => void} stops it
 */
export function onDevicesChanged(changed) {
  navigator.mediaDevices?.addEventListener("devicechange", changed);
  return () => navigator.mediaDevices?.removeEventListener("devicechange", changed);
}

/** @param {{ id?: string, facing?: "user" | "environment", tall?: number }} wish */
function videoConstraints({ id, facing, tall = 720 }) {
  return {
    ...(id ? { deviceId: { exact: id } } : facing ? { facingMode: { ideal: facing } } : {}),
    width: { ideal: Math.round((tall * 16) / 9) },
    height: { ideal: tall },
    frameRate: { ideal: 30, max: 30 },
  };
}

/** @param {{ id?: string }} wish */
function audioConstraints({ id }) {
  return {
    ...(id ? { deviceId: { exact: id } } : {}),
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
  };
}

/**
 * Opens one device: the named one, else the remembered one, else the browser's own choice. A
 * remembered device that is gone is forgotten without a word.
 * @param {Kind} kind
 * @param {{ id?: string, facing?: "user" | "environment", tall?: number }} [wish]
 * @returns {Promise<MediaStreamTrack>} rejects with a DeviceError
 */
export async function openDevice(kind, wish = {}) {
  const blocked = devicesBlocked();
  if (blocked !== null) throw new DeviceError(blocked, kind);
  const id = wish.id ?? (wish.facing === undefined ? remembered(kind) : "");
  try {
    return await openExactly(kind, { ...wish, id });
  } catch (error) {
    const problem = problemOf(error);
    const gone = wish.id === undefined && id !== "" && ["unsuitable", "missing"].includes(problem);
    if (!gone) throw new DeviceError(problem, kind);
  }
  try {
    return await openExactly(kind, { ...wish, id: "" });
  } catch (error) {
    throw new DeviceError(problemOf(error), kind);
  }
}

/**
 * @param {Kind} kind
 * @param {{ id?: string, facing?: "user" | "environment", tall?: number }} wish
 */
async function openExactly(kind, wish) {
  const stream = await navigator.mediaDevices.getUserMedia(
    kind === "video" ? { video: videoConstraints(wish) } : { audio: audioConstraints(wish) },
  );
  const [track] = stream.getTracks();
  if (kind === "video" && "contentHint" in track) track.contentHint = "motion";
  return track;
}

/**
 * The id of the device that a track comes from.
 * @param {MediaStreamTrack | null} track
 */
export function deviceIdOf(track) {
  return track?.getSettings().deviceId ?? "";
}

/**
 * Reports the loudness of a track, 0 to 1 on a decibel scale, about 20 times a second.
 * @param {MediaStreamTrack} track
 * @param {(level: number) => void} report
 * @returns {() => void} stops it
 */
export function watchLevel(track, report) {
  const context = new AudioContext();
  const source = context.createMediaStreamSource(new MediaStream([track]));
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    report(levelOf(samples));
  }, LEVEL_EVERY_MS);
  return () => {
    clearInterval(timer);
    source.disconnect();
    void context.close();
  };
}

/**
 * @param {Float32Array} samples −1 to 1
 * @returns {number} 0 to 1
 */
export function levelOf(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / samples.length + 1e-12);
  return Math.min(1, Math.max(0, 1 - decibels / LEVEL_FLOOR_DB));
}
