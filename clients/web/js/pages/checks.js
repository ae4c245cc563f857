// What this browser can do, asked of the browser itself.

/** @typedef {{ id: string, ok: boolean }} Check */

/** @param {string} mime whether a codec can be received, case ignored */
function receives(mime) {
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.("video")?.codecs ?? [];
  return codecs.some((codec) => codec.mimeType.toLowerCase() === mime);
}

/** @returns {Check[]} */
export function capabilities() {
  return [
    { id: "secure", ok: globalThis.isSecureContext },
    { id: "devices", ok: Boolean(navigator.mediaDevices?.getUserMedia) },
    { id: "webrtc", ok: "RTCPeerConnection" in globalThis },
    { id: "codecs", ok: receives("video/vp8") || receives("video/h264") },
    { id: "socket", ok: "WebSocket" in globalThis },
  ];
}

/**
 * What the browser remembers about a permission; null where it does not tell.
 * @param {"camera" | "microphone"} name
 * @returns {Promise<PermissionStatus | null>}
 */
export async function permission(name) {
  try {
    return await navigator.permissions.query({ name: /** @type {any} */ (name) });
  } catch {
    return null;
  }
}

/** The names that `getUserMedia` fails with, as the key of what to tell. @type {Record<string, string>} */
const FAILURES = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
  OverconstrainedError: "unfit",
};

/** @param {unknown} error */
export function failureOf(error) {
  const name = error instanceof DOMException || error instanceof Error ? error.name : "";
  if (error && typeof error === "object" && "constraint" in error) return "unfit";
  return FAILURES[name] ?? "other";
}
