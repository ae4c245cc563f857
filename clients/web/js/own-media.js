// This side's camera and microphone, and the one connection that sends them. Knows no DOM.

import { DeviceError, deviceIdOf, openDevice, remember } from "./devices.js";
import { Publisher } from "./rtc.js";

/**
 * @typedef {"audio" | "video"} Kind
 * @typedef {object} OwnView
 * @property {MediaStreamTrack | null} video
 * @property {MediaStreamTrack | null} audio
 * @property {boolean} muted the microphone sends silence
 * @property {import("./rtc.js").LinkPhase} phase of the connection
 */

/** @type {OwnView} */
export const NOTHING_ON = Object.freeze({ video: null, audio: null, muted: false, phase: "idle" });

/** Tracks live here from `turnOn` to `turnOff`, whether or not they are being sent. */
export class OwnMedia {
  /** @type {Record<Kind, MediaStreamTrack | null>} */ tracks = { audio: null, video: null };
  /** @type {"user" | "environment"} */ facing = "user";
  muted = false;

  /** @type {Publisher | null} */ #publisher = null;

  /**
   * @param {object} options
   * @param {(sdp: string) => Promise<string>} options.signal
   * @param {(ice: {ufrag: string, pwd: string}) => Promise<{ufrag: string, pwd: string}>} [options.restart]
   * @param {() => Promise<RTCConfiguration>} options.iceConfiguration
   * @param {number} options.videoBitsPerS
   * @param {boolean} [options.layered] send the picture in several sizes, for many viewers
   * @param {number} options.tall lines of picture to ask the camera for
   * @param {(view: OwnView) => void} options.onChange
   * @param {(kind: Kind) => void} options.onLost a device was unplugged or taken away
   * @param {(error: any) => boolean} [options.onRefused] whether to offer again
   */
  constructor(options) {
    this.options = options;
  }

  /** @returns {OwnView} */
  get view() {
    return { ...this.tracks, muted: this.muted, phase: this.#publisher?.phase ?? "idle" };
  }

  get peer() {
    return this.#publisher?.peer ?? null;
  }

  /**
   * Opens a device, or changes to another one; what is being sent changes with it.
   * @param {Kind} kind
   * @param {{ id?: string, facing?: "user" | "environment" }} [wish]
   */
  async turnOn(kind, wish = {}) {
    const old = this.tracks[kind];
    const track = await openDevice(kind, { ...wish, tall: this.options.tall });
    if (wish.id !== undefined) remember(kind, deviceIdOf(track));
    track.enabled = kind === "video" || !this.muted;
    track.onended = () => {
      if (this.tracks[kind] === track) {
        this.turnOff(kind);
        this.options.onLost(kind);
      }
    };
    this.tracks[kind] = track;
    await this.#publisher?.setTrack(kind, track);
    stop(old);
    this.#changed();
  }

  /**
   * Nothing of this kind leaves from now on, and the device's light goes out.
   * @param {Kind} kind
   */
  turnOff(kind) {
    const old = this.tracks[kind];
    this.tracks[kind] = null;
    void this.#publisher?.setTrack(kind, null);
    stop(old);
    this.#changed();
  }

  /** Between the camera that looks at the face and the other one. */
  async flip() {
    const facing = this.facing === "user" ? "environment" : "user";
    // A phone opens its second camera only after the first is closed.
    stop(this.tracks.video);
    try {
      await this.turnOn("video", { facing });
      this.facing = facing;
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      await this.turnOn("video", { facing: this.facing });
    }
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    if (this.tracks.audio !== null) this.tracks.audio.enabled = !muted;
    this.#changed();
  }

  /**
   * Sends what is on, and whatever comes on later of these kinds.
   * @param {readonly Kind[]} kinds
   */
  publish(kinds) {
    if (this.#publisher !== null) {
      this.#publisher.open();
      return;
    }
    const publisher = new Publisher({
      signal: this.options.signal,
      restart: this.options.restart,
      iceConfiguration: this.options.iceConfiguration,
      kinds,
      videoBitsPerS: this.options.videoBitsPerS,
      layered: this.options.layered,
      onRefused: this.options.onRefused,
      onPhase: (phase) => {
        if (phase === "idle" && this.#publisher === publisher) this.#publisher = null;
        this.#changed();
      },
    });
    publisher.tracks = { ...this.tracks };
    this.#publisher = publisher;
    publisher.open();
  }

  /** Ends the connection; devices stay open. */
  unpublish() {
    const publisher = this.#publisher;
    this.#publisher = null;
    publisher?.close();
    this.#changed();
  }

  /** A new connection for the old, though the old may look alive. */
  renew() {
    this.#publisher?.renew();
  }

  /** The signalling is back: what waits to be mended is mended now. */
  mend() {
    this.#publisher?.mend();
  }

  /** Once a second: looks for another way when the server's reports stop. */
  async checkFlow() {
    await this.#publisher?.checkFlow();
  }

  /** Everything off. */
  close() {
    this.unpublish();
    for (const kind of /** @type {Kind[]} */ (["audio", "video"])) this.turnOff(kind);
  }

  #changed() {
    this.options.onChange(this.view);
  }
}

/** @param {MediaStreamTrack | null} track */
function stop(track) {
  if (track === null) return;
  track.onended = null;
  track.stop();
}
