// From WebRTC's statistics to the few figures that people read. Knows no DOM.

/**
 * @typedef {object} Figures
 * @property {number} atMs
 * @property {number} bytes all that was sent or received
 * @property {number} packets
 * @property {number} lost
 * @property {number} frames decoded or encoded
 * @property {number | null} bitsPerS since the previous reading, null for the first
 * @property {number | null} rttMs
 * @property {number | null} lossPercent since the previous reading
 * @property {number | null} fps
 * @property {number} width
 * @property {number} height
 * @property {string} codec of the picture, or ""
 */

/**
 * @param {Iterable<any>} reports values of an `RTCStatsReport`
 * @param {"in" | "out"} direction
 * @param {Figures | null} previous
 * @returns {Figures}
 */
export function figures(reports, direction, previous) {
  const all = [...reports];
  const streams = all.filter((r) => r.type === (direction === "in" ? "inbound-rtp" : "outbound-rtp"));
  const video = streams.find((r) => r.kind === "video");
  const sum = (/** @type {string} */ key) => streams.reduce((total, r) => total + (r[key] ?? 0), 0);
  const remote = all.filter((r) => r.type === "remote-inbound-rtp");
  const atMs = streams.reduce((latest, r) => Math.max(latest, r.timestamp), 0);
  const bytes = sum(direction === "in" ? "bytesReceived" : "bytesSent");
  const packets = sum(direction === "in" ? "packetsReceived" : "packetsSent");
  const lost =
    direction === "in"
      ? sum("packetsLost")
      : remote.reduce((total, r) => total + Math.max(0, r.packetsLost ?? 0), 0);
  const elapsedS = previous === null ? 0 : (atMs - previous.atMs) / 1000;
  return {
    atMs,
    bytes,
    packets,
    lost,
    frames: video?.[direction === "in" ? "framesDecoded" : "framesEncoded"] ?? 0,
    bitsPerS: elapsedS > 0 && previous !== null ? Math.max(0, ((bytes - previous.bytes) * 8) / elapsedS) : null,
    rttMs: roundTripMs(all, remote),
    lossPercent: lossPercent(packets, lost, previous),
    fps: video?.framesPerSecond ?? null,
    width: video?.frameWidth ?? 0,
    height: video?.frameHeight ?? 0,
    codec: codecName(all, video),
  };
}

/**
 * @param {any[]} all
 * @param {any[]} remote
 */
function roundTripMs(all, remote) {
  const pair = all.find((r) => r.type === "candidate-pair" && r.nominated && r.state === "succeeded");
  const seconds = pair?.currentRoundTripTime ?? remote.find((r) => r.roundTripTime)?.roundTripTime;
  return typeof seconds === "number" ? Math.round(seconds * 1000) : null;
}

/**
 * @param {number} packets
 * @param {number} lost
 * @param {Figures | null} previous
 */
function lossPercent(packets, lost, previous) {
  if (previous === null) return null;
  const newLost = Math.max(0, lost - previous.lost);
  const newPackets = packets - previous.packets;
  return newPackets + newLost > 0 ? (100 * newLost) / (newPackets + newLost) : null;
}

/**
 * @param {any[]} all
 * @param {any} video
 */
function codecName(all, video) {
  const codec = all.find((r) => r.type === "codec" && r.id === video?.codecId);
  return codec?.mimeType?.split("/")[1] ?? "";
}

/**
 * What only the browser knows of a connection; null is not known (yet).
 * @typedef {object} Seen
 * @property {"udp" | "tcp" | "relay" | null} way
 * @property {SeenKind} video
 * @property {SeenKind} audio
 *
 * @typedef {object} SeenKind
 * @property {number} delayS all that the jitter buffer held back, for the next reading
 * @property {number} emitted samples or frames that it let out, for the next reading
 * @property {number | null} bufferMs since the previous reading
 * @property {number | null} fps
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} dropped frames that were never shown
 * @property {number | null} freezes
 * @property {"cpu" | "bandwidth" | "other" | null} limitedBy why less than the camera gives is sent
 */

/**
 * @param {Iterable<any>} reports values of an `RTCStatsReport`
 * @param {"in" | "out"} direction
 * @param {Seen | null} previous
 * @returns {Seen}
 */
export function seen(reports, direction, previous) {
  const all = [...reports];
  const type = direction === "in" ? "inbound-rtp" : "outbound-rtp";
  const of = (/** @type {"video" | "audio"} */ kind) => {
    const streams = all.filter((r) => r.type === type && r.kind === kind);
    // Of simulcast layers the largest says how good the picture is.
    const stream = streams.sort((a, b) => (b.frameHeight ?? 0) - (a.frameHeight ?? 0))[0] ?? {};
    return seenKind(stream, previous?.[kind] ?? null);
  };
  return { way: wayOf(all), video: of("video"), audio: of("audio") };
}

/**
 * @param {any} stream
 * @param {SeenKind | null} previous
 * @returns {SeenKind}
 */
function seenKind(stream, previous) {
  const delayS = stream.jitterBufferDelay ?? 0;
  const emitted = stream.jitterBufferEmittedCount ?? 0;
  const since = previous === null ? 0 : emitted - previous.emitted;
  const limit = stream.qualityLimitationReason;
  return {
    delayS,
    emitted,
    bufferMs: previous !== null && since > 0 ? (1000 * (delayS - previous.delayS)) / since : null,
    fps: stream.framesPerSecond ?? null,
    width: stream.frameWidth ?? null,
    height: stream.frameHeight ?? null,
    dropped: stream.framesDropped ?? null,
    freezes: stream.freezeCount ?? null,
    limitedBy: limit === undefined || limit === "none" ? null : limit,
  };
}

/** @param {any[]} all */
function wayOf(all) {
  const chosen = all.find((r) => r.type === "transport")?.selectedCandidatePairId;
  const pair =
    all.find((r) => r.type === "candidate-pair" && r.id === chosen) ??
    all.find((r) => r.type === "candidate-pair" && r.nominated && r.state === "succeeded");
  const local = all.find((r) => r.type === "local-candidate" && r.id === pair?.localCandidateId);
  if (local === undefined) return null;
  if (local.candidateType === "relay") return "relay";
  return local.protocol === "tcp" ? "tcp" : "udp";
}
