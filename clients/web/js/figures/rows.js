// From figures to rows of words: what the panel's tables say. Knows no DOM.

import { has, locale, t } from "../i18n.js";

/**
 * @typedef {import("../../wire.js").ConnectionFigures} ConnectionFigures
 * @typedef {import("../../wire.js").StreamFigures} StreamFigures
 * @typedef {import("../stats.js").Seen} Seen
 *
 * One line: `both` for the connection as a whole, or one text each for picture and sound.
 * @typedef {{ key: string, label: string, both?: string, video?: string, audio?: string }} Row
 */

export const UNKNOWN = "–";

/**
 * @param {number} value
 * @param {number} digits at most, behind the point
 */
function number(value, digits = 0) {
  return value.toLocaleString(locale(), { maximumFractionDigits: digits });
}

/** @param {number | null} bps */
export function bitrateText(bps) {
  if (bps === null) return UNKNOWN;
  if (bps < 999_500) return `${number(bps / 1000)} kbit/s`;
  return `${number(bps / 1_000_000, 2)} Mbit/s`;
}

/** @param {number | null} us */
export function durationText(us) {
  if (us === null) return UNKNOWN;
  const ms = us / 1000;
  if (ms < 1) return `< ${number(1)} ms`;
  return `${number(ms, ms < 10 ? 1 : 0)} ms`;
}

/**
 * @param {string} level
 * @param {string} reason
 */
export function levelText(level, reason) {
  const word = t(`figures.level.${level}`);
  const key = `quality.reason.${reason.split(":")[0]}`;
  return has(key) ? `${word}: ${t(key)}` : word;
}

/** @param {StreamFigures | undefined} stream */
function sizeText(stream) {
  if (stream == null || stream.width === null || stream.height === null) return UNKNOWN;
  return `${stream.width} × ${stream.height}`;
}

/**
 * What the server counted.
 * @param {ConnectionFigures} connection
 * @returns {Row[]}
 */
export function serverRows(connection) {
  const { direction, level, reason } = connection;
  const videos = connection.streams.filter((stream) => stream.kind === "video");
  const audio = connection.streams.find((stream) => stream.kind === "audio");
  return [
    { key: "quality", label: t("figures.quality"), both: levelText(level, reason) },
    { key: "transport", label: t("figures.transport"), both: connection.transport.toUpperCase() },
    { key: "round_trip", label: t("figures.round_trip"), both: durationText(connection.round_trip_us) },
    // A publisher that is told when its packets arrived estimates for itself.
    ...(connection.estimate_bps === null
      ? []
      : [{ key: "estimate", label: t(`figures.estimate.${direction}`), both: bitrateText(connection.estimate_bps) }]),
    {
      key: "silent",
      label: t(`figures.silent.${direction}`),
      both: connection.silent_ms === null ? UNKNOWN : t("figures.seconds_ago", { seconds: number(connection.silent_ms / 1000, 1) }),
    },
    ...(videos.length > 1 ? videos.flatMap((video, index) => streamRows(video, index === 0 ? audio : undefined)) : streamRows(videos[0], audio)),
  ];
}

/**
 * @param {StreamFigures | undefined} video
 * @param {StreamFigures | undefined} audio
 * @returns {Row[]}
 */
function streamRows(video, audio) {
  const layer = video?.layer ?? null;
  /**
   * @param {string} key
   * @param {(stream: StreamFigures) => string} text
   * @returns {Row}
   */
  const row = (key, text) => ({
    key: layer === null ? key : `${layer}:${key}`,
    label: t(`figures.${key}`),
    video: video === undefined ? UNKNOWN : text(video),
    audio: audio === undefined ? UNKNOWN : text(audio),
  });
  return [
    ...(layer === null ? [] : [row("layer", (stream) => stream.layer ?? "")]),
    row("codec", (stream) => stream.codec ?? UNKNOWN),
    ...(sizeText(video) === UNKNOWN ? [] : [row("size", (stream) => (stream.kind === "video" ? sizeText(stream) : ""))]),
    row("bitrate", (stream) => bitrateText(stream.bitrate_bps)),
    row("packets", (stream) => number(stream.packets)),
    row("loss", (stream) => (stream.lost_permille === null ? UNKNOWN : `${number(stream.lost_permille / 10, 1)} %`)),
    row("jitter", (stream) => durationText(stream.jitter_us)),
    row("repairs", (stream) => `${number(stream.asked_again)} / ${number(stream.repaired)}`),
    row("keyframes", (stream) => (stream.kind === "video" ? number(stream.keyframes_asked) : "")),
  ];
}

/**
 * What only this browser knows.
 * @param {Seen | undefined} seen
 * @param {"publish" | "watch"} direction
 * @returns {Row[]}
 */
export function browserRows(seen, direction) {
  if (seen === undefined) return [];
  const { video, audio } = seen;
  const count = (/** @type {number | null} */ value) => (value === null ? UNKNOWN : number(value));
  const buffer = (/** @type {number | null} */ ms) => durationText(ms === null ? null : ms * 1000);
  const size = video.width === null || video.height === null ? UNKNOWN : `${video.width} × ${video.height}`;
  /** @type {Row[]} */
  const both = [
    { key: "way", label: t("figures.way"), both: seen.way === null ? UNKNOWN : t(`figures.way.${seen.way}`) },
    { key: "seen_size", label: t("figures.size"), video: size, audio: "" },
    { key: "fps", label: t("figures.fps"), video: video.fps === null ? UNKNOWN : number(video.fps), audio: "" },
  ];
  if (direction === "publish") {
    const limited = video.limitedBy === null ? t("figures.limited.none") : t(`figures.limited.${video.limitedBy}`);
    return [...both, { key: "limited", label: t("figures.limited"), video: limited, audio: "" }];
  }
  return [
    ...both,
    { key: "dropped", label: t("figures.dropped"), video: count(video.dropped), audio: "" },
    { key: "freezes", label: t("figures.freezes"), video: count(video.freezes), audio: "" },
    { key: "buffer", label: t("figures.buffer"), video: buffer(video.bufferMs), audio: buffer(audio.bufferMs) },
  ];
}
