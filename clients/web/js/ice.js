// What a restart of ICE needs: credentials in session descriptions, and what came over the way in
// use. Pure.

/** @param {string} sdp the first credentials in it; all are the same when bundled */
export function iceOf(sdp) {
  return {
    ufrag: /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1] ?? "",
    pwd: /^a=ice-pwd:(\S+)/m.exec(sdp)?.[1] ?? "",
  };
}

/**
 * The earlier answer for a new ICE session: another version and other credentials, all else the
 * same (RFC 9429 §5.3).
 * @param {string} answer
 * @param {{ ufrag: string, pwd: string }} server
 */
export function restarted(answer, { ufrag, pwd }) {
  return answer
    .replace(/^(o=\S+ \S+ )(\d+)/m, (_, head, version) => `${head}${Number(version) + 1}`)
    .replace(/^a=ice-ufrag:\S+/gm, `a=ice-ufrag:${ufrag}`)
    .replace(/^a=ice-pwd:\S+/gm, `a=ice-pwd:${pwd}`);
}

/**
 * @param {Iterable<any>} reports values of an `RTCStatsReport`
 * @returns {number} bytes of media and reports that came over all ways so far; checks do not count
 */
export function receivedBytes(reports) {
  let bytes = 0;
  for (const report of reports) {
    if (report.type === "candidate-pair") bytes += report.bytesReceived ?? 0;
  }
  return bytes;
}
