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
    ...streamRows(videos, audio),
  ];
}

/** @param {string} layer as the publisher named it */
function layerText(layer) {
  return has(`figures.layer.${layer}`) ? t(`figures.layer.${layer}`) : layer;
}

/**
 * The layers of one picture together: sums, and the worst of what is no sum.
 * @param {StreamFigures[]} videos
 * @returns {StreamFigures | undefined}
 */
function together(videos) {
  if (videos.length < 2) return videos[0];
  const known = (/** @type {(number | null)[]} */ values) => /** @type {number[]} */ (values.filter((value) => value !== null));
  const sum = (/** @type {(number | null)[]} */ values) => known(values).reduce((total, value) => total + value, 0);
  const worst = (/** @type {(number | null)[]} */ values) => (known(values).length === 0 ? null : Math.max(...known(values)));
  return {
    ...videos[0],
    layer: null,
    width: null,
    height: null,
    bitrate_bps: sum(videos.map((video) => video.bitrate_bps)),
    packets: sum(videos.map((video) => video.packets)),
    lost_permille: worst(videos.map((video) => video.lost_permille)),
    jitter_us: worst(videos.map((video) => video.jitter_us)),
    asked_again: sum(videos.map((video) => video.asked_again)),
    repaired: sum(videos.map((video) => video.repaired)),
    keyframes_asked: sum(videos.map((video) => video.keyframes_asked)),
  };
}

/**
 * @param {StreamFigures[]} videos one, or the layers of a simulcast
 * @param {StreamFigures | undefined} audio
 * @returns {Row[]}
 */
function streamRows(videos, audio) {
  const video = together(videos);
  const layer = video?.layer ?? null;
  /**
   * @param {string} key
   * @param {(stream: StreamFigures) => string} text
   * @returns {Row}
   */
  const row = (key, text) => ({
    key,
    label: t(`figures.${key}`),
    video: video === undefined ? UNKNOWN : text(video),
    audio: audio === undefined ? UNKNOWN : text(audio),
  });
  /** @type {Row[]} */
  const layers = [...videos]
    .sort((a, b) => (b.height ?? 0) - (a.height ?? 0))
    .map((one, index) => ({
      key: `layer:${one.layer ?? index}`,
      label: t("figures.layer_of", { layer: layerText(one.layer ?? String(index + 1)) }),
      both: `${sizeText(one)}, ${bitrateText(one.bitrate_bps)}`,
    }));
  return [
    row("codec", (stream) => stream.codec ?? UNKNOWN),
    ...(videos.length > 1 ? layers : []),
    ...(layer === null ? [] : [{ key: "layer", label: t("figures.layer"), video: layerText(layer), audio: "" }]),
    ...(sizeText(video) === UNKNOWN ? [] : [{ key: "size", label: t("figures.size"), video: sizeText(video), audio: "" }]),
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
