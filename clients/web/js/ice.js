// ICE credentials in session descriptions, for restarts: read ours, put the server's in. Pure.

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
