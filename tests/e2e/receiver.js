// A page's own record of what it received: when each encoded frame came, over which connection.
// Nothing here asks the server. Frames are timed in a worker as they leave the depacketizer (WebRTC
// Encoded Transform), so that a page that is busy, or whose socket is gone, is late with nothing.
(() => {
  const HOLD_WINDOW_MS = 1_500;
  const POLL_MS = 10;
  const WORKER = `onrtctransform = ({ transformer }) => {
    const { link, kind } = transformer.options;
    const note = new TransformStream({
      transform(frame, out) {
        postMessage([link, kind, performance.timeOrigin + performance.now(), frame.type === "key"]);
        out.enqueue(frame);
      },
    });
    void transformer.readable.pipeThrough(note).pipeTo(transformer.writable);
  };`;
  const KEPT = "received";
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER])));
  const links = new WeakMap();
  const sockets = [];
  /** Every frame: [link, kind, when, whether it is a keyframe]; a page loaded anew goes on. */
  const frames = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  let linkCount = frames.reduce((most, [link]) => Math.max(most, link), 0);
  /** When the page was told that a session is over; the free room's packets come after that. */
  const endings = {};
  const nowMs = () => performance.timeOrigin + performance.now();
  addEventListener("pagehide", () => sessionStorage.setItem(KEPT, JSON.stringify(frames)));
  worker.onmessage = ({ data }) => frames.push(data);

  window.WebSocket = class extends window.WebSocket {
    constructor(...words) {
      super(...words);
      sockets.push(this);
      this.addEventListener("message", ({ data }) => {
        if (typeof data !== "string" || !data.includes('"private.state"')) return;
        const { session } = JSON.parse(data);
        if (session.phase === "ending") endings[session.session] = nowMs();
      });
    }
  };

  const Peer = window.RTCPeerConnection;
  const add = Peer.prototype.addTransceiver;
  Peer.prototype.addTransceiver = function (track, options) {
    const transceiver = add.call(this, track, options);
    if (options?.direction !== "recvonly") return transceiver;
    if (!links.has(this)) links.set(this, (linkCount += 1));
    const kind = transceiver.receiver.track.kind;
    transceiver.receiver.transform = new RTCRtpScriptTransform(worker, { link: links.get(this), kind });
    return transceiver;
  };

  /** How long media was held from an instant on: over each connection, frames within the window. */
  const heldMs = (kind, sinceMs) => {
    const lasts = new Map();
    let sum = 0;
    for (const [link, of, atMs] of frames) {
      if (atMs < sinceMs || (kind !== "any" && of !== kind)) continue;
      const gapMs = atMs - (lasts.get(link) ?? -Infinity);
      if (gapMs <= HOLD_WINDOW_MS) sum += gapMs;
      lasts.set(link, atMs);
    }
    return sum;
  };

  let resting = [];
  window.receiver = {
    frames: () => frames,
    endings: () => endings,
    /** Resolves as soon as so much was received. */
    async held(kind, sinceMs, ms) {
      while (heldMs(kind, sinceMs) < ms) await new Promise((go) => setTimeout(go, POLL_MS));
    },
    dropSockets: () => sockets.forEach((socket) => socket.close()),
    /** The page sends nothing. */
    async rest() {
      const [sending] = window.parlourDebug.pcs();
      resting = sending.getSenders().map((sender) => [sender, sender.track]);
      for (const [sender] of resting) await sender.replaceTrack(null);
    },
    /** It sends again; from which instant on. */
    async wake() {
      const fromMs = nowMs();
      for (const [sender, track] of resting) await sender.replaceTrack(track);
      return fromMs;
    },
    /** The UDP port of the page's first connection. */
    async port() {
      const [first] = window.parlourDebug.pcs();
      const all = await first.getStats();
      const transport = [...all.values()].find((s) => s.type === "transport");
      return all.get(all.get(transport.selectedCandidatePairId).localCandidateId).port;
    },
  };

  // A small picture that nobody sees: what is proved is when packets come, not how they look.
  const open = MediaDevices.prototype.getUserMedia;
  MediaDevices.prototype.getUserMedia = function (wish) {
    const video = typeof wish?.video === "object" ? wish.video : {};
    const small = { ...video, width: 160, height: 120, frameRate: 15 };
    return open.call(this, wish?.video ? { ...wish, video: small } : wish);
  };
  addEventListener("DOMContentLoaded", () => {
    const unseen = document.createElement("style");
    unseen.textContent = "video { visibility: hidden !important }";
    document.head.append(unseen);
  });
})();
