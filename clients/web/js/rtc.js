// Peer connections, one per direction; the client always offers, before it gathers. Knows no DOM.
//
// The server is ICE-lite and learns our address from our checks, so the offer needs no candidates
// and leaves at once. A toggle is `replaceTrack`; nothing is ever renegotiated. A link that lost its
// way looks for another by an ICE restart, over which keys, tracks and pictures stay; only one that
// the server has given up is replaced by a new one, with the same tracks.

import { iceOf, receivedBytes, restarted } from "./ice.js";
/**
 * @typedef {"audio" | "video"} Kind
 * @typedef {"idle" | "connecting" | "up" | "down"} LinkPhase
 *
 * @typedef {object} LinkOptions
 * @property {(sdp: string) => Promise<string>} signal sends the offer, resolves with the answer
 * @property {(ice: {ufrag: string, pwd: string}) => Promise<{ufrag: string, pwd: string}>} [restart] tells our new
 *   credentials, resolves with the server's; without it a broken link is replaced
 * @property {() => Promise<RTCConfiguration>} [iceConfiguration]
 * @property {(phase: LinkPhase) => void} [onPhase]
 * @property {(error: any) => boolean | number} [onRefused] whether to try again after this refusal,
 *   or in how many milliseconds
 * @property {new (configuration: RTCConfiguration) => RTCPeerConnection} [peerClass] for tests
 * @property {() => MediaStream} [makeStream] for tests
 * @property {() => number} [nowMs] for tests
 */

/** Browsers call a short gap "disconnected" and often recover; after this we stop hoping. */
const DISCONNECTED_MS = 1_500;
/** A restart harms nothing, so it waits for less: a few lost checks. */
const RESTART_AFTER_MS = 300;
/** A restart that found no way by then is made once more: the network may have changed again. */
const RESTART_WAIT_MS = 6_000;
/** The signalling is down, as it is for a moment whenever the network changes; its return mends. */
const RESTART_AGAIN_MS = 2_000;
/** The server forgets a silent peer after 30 s; from here on a new connection is the shorter way. */
const KEPT_MS = 27_000;
/** A living server answers a restart at once; a longer silence means that the socket is dead too. */
export const RESTART_REPLY_MS = 1_500;
/** The server reports once a second. Browsers take five seconds to notice what two of silence tell. */
const SILENT_MS = 2_000;
/** Why an intent did not reach the server: no word from it, so nothing is known to be over. */
const UNHEARD = new Set(["link_lost", "timeout"]);
/** An answer came but neither ICE nor DTLS: an address that does not lead anywhere. */
const CONNECT_TIMEOUT_MS = 8_000;
const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 4_000;

/** A picture that nobody came to see after this: its offer is thrown away. */
const SPARE_MS = 10_000;

/** @type {{ offer: Promise<{peer: RTCPeerConnection, sdp: string}>, timer: any } | null} */
let spare = null;

/**
 * Makes an offer to watch before anyone asked for it: somebody points at a card. At the click it
 * would take 30 to 80 ms.
 * @param {() => Promise<RTCConfiguration>} iceConfiguration
 * @param {new (configuration: RTCConfiguration) => RTCPeerConnection} [peerClass] for tests
 */
export function expectToWatch(iceConfiguration, peerClass = globalThis.RTCPeerConnection) {
  if (spare !== null) return;
  const offer = makeOffer(peerClass, iceConfiguration, addReceivers);
  offer.catch(() => {}); // whoever takes it hears of it
  const timer = setTimeout(() => {
    void takeSpare()?.then(({ peer }) => peer.close()).catch(() => {});
  }, SPARE_MS);
  spare = { offer, timer };
}

function takeSpare() {
  if (spare === null) return null;
  const { offer, timer } = spare;
  clearTimeout(timer);
  spare = null;
  return offer;
}

/** @param {RTCPeerConnection} peer */
function addReceivers(peer) {
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.addTransceiver("audio", { direction: "recvonly" });
}

/**
 * @param {new (configuration: RTCConfiguration) => RTCPeerConnection} peerClass
 * @param {() => Promise<RTCConfiguration>} iceConfiguration
 * @param {(peer: RTCPeerConnection) => void} build adds the transceivers
 */
async function makeOffer(peerClass, iceConfiguration, build) {
  const peer = new peerClass({ ...(await iceConfiguration()), bundlePolicy: "max-bundle" });
  build(peer);
  const offer = await peer.createOffer();
  await peer.setLocalDescription(offer);
  // Not `localDescription`: that one grows candidates, and the server needs none.
  return { peer, sdp: offer.sdp ?? "" };
}

/** What watching and publishing share: making a connection, keeping it, closing it. */
class PeerLink {
  /** @type {LinkPhase} */ phase = "idle";
  /** @type {RTCPeerConnection | null} */ peer = null;
  /** Whether it is to be mended when it breaks. */ wanted = false;

  #attempt = 0;
  #generation = 0;
  /** @type {string | null} what the server answered to our offer */ #answer = null;
  /** @type {number | null} since when there is no way */ #lostMs = null;
  /** Counts restarts, so that an overtaken one is dropped. */ #round = 0;
  #heard = { bytes: 0, atMs: 0, flowing: false };
  /** @type {any} */ #timer = null;
  /** @type {Promise<{peer: RTCPeerConnection, sdp: string}> | null} */ #prepared = null;

  /** @param {LinkOptions} options */
  constructor(options) {
    this.signal = options.signal;
    this.restart = options.restart ?? null;
    this.nowMs = options.nowMs ?? (() => performance.now());
    this.iceConfiguration = options.iceConfiguration ?? (async () => ({}));
    this.onPhase = options.onPhase ?? (() => {});
    this.onRefused = options.onRefused ?? (() => true);
    this.peerClass = options.peerClass ?? globalThis.RTCPeerConnection;
  }

  /** Makes the offer ahead of time, so that `open` has only to send it. */
  prepare() {
    if (this.peer === null && this.#prepared === null) {
      this.#prepared = this.#makeOffer();
      // Its failure is reported by whoever awaits it; unawaited it must not be an unhandled one.
      this.#prepared.catch(() => {});
    }
  }

  /** Connects, or keeps the connection or the attempt that there is. */
  open() {
    this.wanted = true;
    if (this.phase === "idle") {
      this.#attempt = 0;
      void this.#connect();
    }
  }

  /** Keeps a living connection but does not mend a broken one. */
  rest() {
    this.wanted = false;
    if (this.phase === "down") this.#setPhase("idle");
    if (this.phase === "idle") clearTimeout(this.#timer);
  }

  /** Replaces the connection by a new one, though it may look alive. */
  renew() {
    if (!this.wanted) return;
    this.#attempt = 0;
    void this.#connect();
  }

  /**
   * The signalling was lost and is back: does at once what waits for its next try. A connection that
   * looks well may only not know yet that the network is another one.
   */
  mend() {
    if (this.phase === "up") void this.#seek();
    else if (this.phase === "down" && this.#lostMs === null) this.renew();
    else if (this.phase === "down") void this.#restart(this.#generation);
  }

  /**
   * To be called once a second: looks for another way when what was coming stopped.
   * @param {boolean} expected whether anything should be coming
   */
  async checkFlow(expected = true) {
    const { peer } = this;
    if (peer === null || this.phase !== "up" || this.restart === null) return;
    const bytes = receivedBytes((await peer.getStats()).values());
    if (peer !== this.peer) return;
    const nowMs = this.nowMs();
    if (bytes !== this.#heard.bytes || !expected) {
      this.#heard = { bytes, atMs: nowMs, flowing: bytes > this.#heard.bytes };
    } else if (this.#heard.flowing && nowMs - this.#heard.atMs >= SILENT_MS) {
      this.#heard.flowing = false; // once: who sends nothing may have nothing to send
      void this.#seek();
    }
  }

  /** Ends it. */
  close() {
    this.wanted = false;
    this.#generation += 1;
    this.#lostMs = null;
    clearTimeout(this.#timer);
    this.#drop(this.peer);
    this.peer = null;
    void this.#prepared?.then(({ peer }) => peer.close()).catch(() => {});
    this.#prepared = null;
    this.closed();
    this.#setPhase("idle");
  }

  /** @param {RTCPeerConnection} _peer gets its transceivers here */
  build(_peer) {}

  /** @param {RTCPeerConnection} _peer has its answer now */
  answered(_peer) {}

  /** Packets can flow. */
  connected() {}

  /** The connection is gone for good. */
  closed() {}

  /** @returns {Promise<{peer: RTCPeerConnection, sdp: string}> | null} an offer made ahead, if any */
  ahead() {
    return null;
  }

  #makeOffer() {
    const ahead = this.ahead();
    if (ahead !== null) return ahead;
    return makeOffer(this.peerClass, this.iceConfiguration, (peer) => this.build(peer));
  }

  async #connect() {
    const generation = ++this.#generation;
    clearTimeout(this.#timer);
    this.#answer = this.#lostMs = null;
    this.#setPhase("connecting");
    const old = this.peer;
    const prepared = this.#prepared ?? this.#makeOffer();
    this.#prepared = null;
    /** @type {RTCPeerConnection | null} */
    let peer = null;
    try {
      const offer = await prepared;
      peer = offer.peer;
      if (generation !== this.#generation) return void peer.close();
      this.peer = peer;
      this.#drop(old);
      this.#follow(peer, generation);
      const sdp = await this.signal(offer.sdp);
      if (generation !== this.#generation) return void peer.close();
      await peer.setRemoteDescription({ type: "answer", sdp });
      if (generation !== this.#generation) return void peer.close();
      this.#answer = sdp;
      this.answered(peer);
      this.#timer = setTimeout(() => this.#broken(generation), CONNECT_TIMEOUT_MS);
    } catch (error) {
      if (generation !== this.#generation) return void peer?.close();
      const again = this.onRefused(error);
      if (again === false) this.close();
      else this.#broken(generation, again === true ? null : again);
    }
  }

  /**
   * @param {RTCPeerConnection} peer
   * @param {number} generation
   */
  #follow(peer, generation) {
    peer.onconnectionstatechange = () => {
      if (generation !== this.#generation) return;
      switch (peer.connectionState) {
        case "connected":
          this.#isUp();
          break;
        case "disconnected":
          if (this.phase !== "up") break; // somebody is looking for a way already
          clearTimeout(this.#timer);
          this.#timer = setTimeout(
            () => void this.#restart(generation),
            this.restart === null ? DISCONNECTED_MS : RESTART_AFTER_MS,
          );
          break;
        case "failed":
          if (this.phase === "up") void this.#restart(generation);
          else if (this.#lostMs === null) this.#broken(generation);
          break;
        case "closed":
          this.#broken(generation);
          break;
      }
    };
  }

  #isUp() {
    clearTimeout(this.#timer);
    this.#attempt = 0;
    this.#lostMs = null;
    this.connected();
    this.#setPhase("up");
  }

  /**
   * Looks for another way for the same connection, again and again while the server keeps it.
   * @param {number} generation
   */
  async #restart(generation) {
    if (generation !== this.#generation) return;
    clearTimeout(this.#timer);
    const { peer, restart } = this;
    this.#lostMs ??= this.nowMs();
    const kept = this.nowMs() - this.#lostMs < KEPT_MS;
    if (!this.wanted || !kept || peer === null || restart === null || this.#answer === null) {
      this.#broken(generation);
      return;
    }
    this.#setPhase("down");
    this.#restartIn(generation, RESTART_WAIT_MS);
    const outcome = await this.#exchange(generation);
    if (outcome === "unheard") this.#restartIn(generation, RESTART_AGAIN_MS);
    else if (outcome === "refused") this.#broken(generation);
  }

  /**
   * @param {number} generation
   * @param {number} delayMs
   */
  #restartIn(generation, delayMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // A way that held all along fires no event.
      if (generation === this.#generation && this.peer?.connectionState === "connected") this.#isUp();
      else void this.#restart(generation);
    }, delayMs);
  }

  /** Looks for another way while the connection still counts as well: it may be. */
  async #seek() {
    const generation = this.#generation;
    if (!this.wanted || this.restart === null || this.#answer === null) return;
    if ((await this.#exchange(generation)) === "refused") this.#broken(generation);
  }

  /**
   * New ICE credentials for both sides of the connection that there is.
   * @param {number} generation
   * @returns {Promise<"done" | "unheard" | "refused">} "done" also when something newer took over
   */
  async #exchange(generation) {
    const { peer, restart } = this;
    if (peer === null || restart === null) return "refused";
    const round = ++this.#round;
    const overtaken = () => generation !== this.#generation || round !== this.#round;
    try {
      // TURN passwords expire; those of the first connection may be hours old.
      peer.setConfiguration({ ...peer.getConfiguration(), ...(await this.iceConfiguration()) });
      const offer = await peer.createOffer({ iceRestart: true });
      if (overtaken()) return "done";
      await peer.setLocalDescription(offer);
      const server = await restart(iceOf(offer.sdp ?? ""));
      if (overtaken()) return "done";
      const sdp = restarted(this.#answer ?? "", server);
      await peer.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      if (!overtaken()) return UNHEARD.has(/** @type {any} */ (error)?.code) ? "unheard" : "refused";
    }
    return "done";
  }

  /**
   * @param {number} generation
   * @param {number | null} [waitMs] before the next try; null leaves it to us
   */
  #broken(generation, waitMs = null) {
    if (generation !== this.#generation) return;
    this.#generation += 1;
    this.#lostMs = null;
    clearTimeout(this.#timer);
    if (!this.wanted) {
      this.close();
      return;
    }
    this.#setPhase("down");
    const delayMs = waitMs ?? Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#timer = setTimeout(() => {
      if (this.wanted) void this.#connect();
    }, delayMs);
  }

  /** @param {RTCPeerConnection | null} peer */
  #drop(peer) {
    if (peer === null) return;
    peer.onconnectionstatechange = null;
    peer.ontrack = null;
    peer.close();
  }

  /** @param {LinkPhase} phase */
  #setPhase(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.onPhase(phase);
  }
}

/** Receives picture and sound into one lasting `stream`, so that a `<video>` is bound once. */
export class Watcher extends PeerLink {
  /** @type {Map<string, MediaStreamTrack>} by kind; wait for the connection to take over */
  #next = new Map();

  /** @param {LinkOptions} options */
  constructor(options) {
    super(options);
    this.stream = (options.makeStream ?? (() => new MediaStream()))();
  }

  /** @param {RTCPeerConnection} peer */
  build(peer) {
    addReceivers(peer);
    this.#listen(peer);
  }

  ahead() {
    const offer = takeSpare();
    if (offer === null) return null;
    return offer.then((made) => {
      this.#listen(made.peer);
      return made;
    });
  }

  /** @param {RTCPeerConnection} peer */
  #listen(peer) {
    peer.ontrack = ({ track, receiver }) => {
      // As little delay as the network allows: this is a conversation.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      // While there is an old track its last picture stands until the new connection is up;
      // several tries may come to nothing before.
      const replaces = this.stream.getTracks().some((old) => old.kind === track.kind);
      if (replaces) this.#next.set(track.kind, track);
      else this.stream.addTrack(track);
    };
  }

  connected() {
    for (const [kind, track] of this.#next) {
      for (const old of this.stream.getTracks()) {
        if (old.kind === kind) this.stream.removeTrack(old);
      }
      this.stream.addTrack(track);
    }
    this.#next.clear();
  }

  closed() {
    this.#next.clear();
    for (const track of this.stream.getTracks()) this.stream.removeTrack(track);
  }
}

/**
 * Layers of a picture that many watch: each gets the one that its way and its screen take. Together
 * 2.45 Mbit/s, what the server lets a publisher send. One temporal layer: by itself Chromium makes
 * three, and does not send again what is lost of the upper two; at 5 % loss every sixth picture.
 * @type {(RTCRtpEncodingParameters & { scalabilityMode: string })[]}
 */
export const LAYERS = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000, scalabilityMode: "L1T1" },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000, scalabilityMode: "L1T1" },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_800_000, scalabilityMode: "L1T1" },
];

/** Sends up to one picture and one sound; a kind without a track sends nothing. */
export class Publisher extends PeerLink {
  /** @type {Record<Kind, MediaStreamTrack | null>} */ tracks = { audio: null, video: null };

  /**
   * @param {LinkOptions & {kinds: readonly Kind[], videoBitsPerS: number, layered?: boolean}} options
   *   `kinds` are offered whether or not there is a track yet, so that one can come later;
   *   `layered` sends the picture in `LAYERS` (simulcast)
   */
  constructor(options) {
    super(options);
    this.kinds = options.kinds;
    this.videoBitsPerS = options.videoBitsPerS;
    this.layered = options.layered ?? false;
  }

  /**
   * Sends another track of this kind from now on, or none; needs no negotiation.
   * @param {Kind} kind
   * @param {MediaStreamTrack | null} track
   */
  async setTrack(kind, track) {
    this.tracks[kind] = track;
    const sender = this.#sender(kind);
    if (sender !== null) await sender.replaceTrack(track);
  }

  /** @param {RTCPeerConnection} peer */
  build(peer) {
    for (const kind of this.kinds) {
      const layers = kind === "video" && this.layered ? { sendEncodings: LAYERS } : {};
      peer.addTransceiver(this.tracks[kind] ?? kind, { direction: "sendonly", ...layers });
    }
  }

  /** @param {RTCPeerConnection} peer */
  answered(peer) {
    for (const kind of this.kinds) {
      const sender = this.#sender(kind);
      if (sender === null) continue;
      // A track that changed while the offer travelled.
      if (sender.track !== this.tracks[kind]) void sender.replaceTrack(this.tracks[kind]);
      if (kind === "video" && !this.layered) limitBitrate(sender, this.videoBitsPerS);
    }
    void peer;
  }

  closed() {
    this.tracks = { audio: null, video: null };
  }

  /** @param {Kind} kind */
  #sender(kind) {
    const index = this.kinds.indexOf(kind);
    return this.peer?.getTransceivers()[index]?.sender ?? null;
  }
}

/**
 * @param {RTCRtpSender} sender
 * @param {number} bitsPerS
 */
function limitBitrate(sender, bitsPerS) {
  const parameters = sender.getParameters();
  // Some browsers know no encodings before the first packet; their own ceiling is good enough.
  if (parameters.encodings === undefined || parameters.encodings.length === 0) return;
  for (const encoding of parameters.encodings) encoding.maxBitrate = bitsPerS;
  sender.setParameters(parameters).catch(() => {
    // A ceiling is a courtesy to the uplink, not a need.
  });
}
