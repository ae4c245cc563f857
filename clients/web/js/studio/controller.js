// What an expert can do in the studio and what follows from what the server says. Knows no DOM.

import { DeviceError } from "../devices.js";
import { NOTHING_ON, OwnMedia } from "../own-media.js";
import { InRoom, OFFER_AGAIN_MS, PRIVATE, STREAM } from "../in-room.js";
import { Watcher } from "../rtc.js";
import { inPrivate } from "../state.js";
import { figures } from "../stats.js";

/**
 * @typedef {import("../state.js").State} State
 * @typedef {"audio" | "video"} Kind
 * @typedef {"browser" | "encoder"} Source
 *
 * @typedef {object} Studio as `GET /api/v1/studio` says
 * @property {import("../state.js").ExpertCard & {about: string}} expert
 * @property {string} whip_url
 * @property {string} stream_key_hint
 * @property {import("../../wire.js").Prices} prices
 * @property {boolean} cam2cam
 * @property {boolean} two_way_audio
 * @property {boolean} in_session
 * @property {number} earned_units_today
 *
 * @typedef {object} Local
 * @property {Studio} studio
 * @property {Source} source
 * @property {boolean} onAir this tab sends, or wants to
 * @property {import("../own-media.js").OwnView} own
 * @property {import("../rtc.js").LinkPhase} memberPhase
 * @property {Partial<Record<Kind, DeviceError | null>>} problems
 * @property {boolean} busy
 * @property {import("../stats.js").Figures | null} figures of what is sent
 * @property {string | null} key a stream key that was just made
 */

const SENT_BITS_PER_S = 2_500_000;
const SENT_TALL = 720;
const LIVE_STATES = new Set(["live_free", "ringing", "entering_private", "in_private"]);

/** @param {State} state whether the server says that this expert is on air */
export function isOnAir(state) {
  return state.room !== null && LIVE_STATES.has(state.room.expert.state);
}

/**
 * One expert at the desk.
 * @extends {InRoom<Local>}
 */
export class StudioController extends InRoom {
  /**
   * @param {object} options
   * @param {any} options.wire the page's hub
   * @param {Studio} options.studio
   * @param {{ studio: () => Promise<Studio>, rotateKey: () => Promise<{stream_key: string}>, change: (body: object) => Promise<Studio>, summary: (session: string) => Promise<any> }} options.http
   * @param {() => Promise<RTCConfiguration>} options.iceConfiguration
   * @param {(error: unknown) => void} options.onFailure
   * @param {boolean} options.wasOnAir this tab was sending when its page was reloaded
   * @param {() => number} [options.nowMs]
   */
  constructor(options) {
    const { wire, studio, http, iceConfiguration, onFailure, nowMs } = options;
    super({
      wire,
      fetchSummary: (session) => http.summary(session),
      onFailure,
      nowMs,
      local: {
        studio,
        source: "browser",
        onAir: false,
        own: NOTHING_ON,
        memberPhase: "idle",
        problems: {},
        busy: false,
        figures: null,
        key: null,
      },
    });
    this.wasOnAir = options.wasOnAir;
    this.http = http;
    this.iceConfiguration = iceConfiguration;
    this.own = new OwnMedia({
      signal: (sdp) => this.offer("media.publish", STREAM, sdp),
      restart: (ice) => this.restart("publish", STREAM, ice),
      iceConfiguration,
      videoBitsPerS: SENT_BITS_PER_S,
      layered: true,
      tall: SENT_TALL,
      onChange: (own) => this.patch({ own }),
      onLost: (kind) => this.#problem(kind, new DeviceError("missing", kind)),
      onRefused: (error) => this.#publishRefused(error),
    });
    /** The member's picture and sound in a session. */
    this.member = this.#watcher(PRIVATE, (memberPhase) => this.patch({ memberPhase }));
    /** What viewers get, when an encoder sends it. */
    this.monitor = this.#watcher(STREAM, () => {});
  }

  ways() {
    return [
      { key: "stream:publish", peer: this.own.peer, direction: /** @type {const} */ ("out") },
      { key: "stream:watch", peer: this.monitor.peer, direction: /** @type {const} */ ("in") },
      { key: "private:watch", peer: this.member.peer, direction: /** @type {const} */ ("in") },
    ];
  }

  /** @param {Source} source */
  setSource(source) {
    if (source === "encoder") this.own.close();
    this.patch({ source, problems: {} });
  }

  /**
   * Opens a camera or microphone, or changes to another.
   * @param {Kind} kind
   * @param {string} [id]
   */
  async openDevice(kind, id) {
    try {
      await this.own.turnOn(kind, id === undefined ? {} : { id });
      // The encoder was chosen while the device opened.
      if (this.local.source === "encoder") this.own.turnOff(kind);
      this.#problem(kind, null);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#problem(kind, error);
    }
  }

  /** @param {Kind} kind */
  closeDevice(kind) {
    this.own.turnOff(kind);
    this.#problem(kind, null);
  }

  /** Puts this browser's camera on air. */
  goLive() {
    this.patch({ onAir: true });
    this.own.publish(["video", "audio"]);
  }

  /** Off air, whoever sends; devices stay open for the next time. */
  async goOffline() {
    this.patch({ onAir: false, figures: null });
    this.own.unpublish();
    await this.#intent(() => this.wire.send({ type: "studio.go_offline" }));
  }

  async accept() {
    const session = this.server.incoming?.session.session;
    if (session === undefined) return;
    await this.#intent(() => this.wire.send({ type: "private.accept", session }));
  }

  async decline() {
    const session = this.server.incoming?.session.session;
    if (session === undefined) return;
    await this.#intent(() => this.wire.send({ type: "private.decline", session }));
  }

  async end() {
    await this.#intent(() => this.wire.send({ type: "private.end" }));
  }

  toggleMute() {
    if (this.own.tracks.audio !== null) this.own.mute(!this.own.muted);
  }

  /** A new stream key; the old one is dead at once. */
  async rotateKey() {
    await this.#intent(async () => {
      const { stream_key: key } = await this.http.rotateKey();
      this.patch({
        key,
        studio: { ...this.local.studio, stream_key_hint: key.slice(-4) },
      });
    });
  }

  /**
   * @param {object} body prices, switches, texts
   * @returns {Promise<boolean>} whether the server took them
   */
  async change(body) {
    return this.#intent(async () => this.patch({ studio: await this.http.change(body) }));
  }

  /**
   * @param {string} feed
   * @param {(phase: import("../rtc.js").LinkPhase) => void} onPhase
   */
  #watcher(feed, onPhase) {
    return new Watcher({
      signal: (sdp) => this.offer("media.watch", feed, sdp),
      restart: (ice) => this.restart("watch", feed, ice),
      iceConfiguration: () => this.iceConfiguration(),
      onPhase,
      onRefused: (error) => !["no_session", "not_active", "walled", "no_feed"].includes(error?.code),
    });
  }

  /** @param {any} message */
  heard(message) {
    if (message.type === "media.stopped") this.#stopped(message);
    if (message.type === "private.summary") void this.#refresh();
    this.#sync();
  }

  /**
   * @param {Kind} kind
   * @param {DeviceError | null} problem
   */
  #problem(kind, problem) {
    this.patch({ problems: { ...this.local.problems, [kind]: problem } });
  }

  /** @param {boolean} resumed the place of before a reload was kept */
  async enter(resumed) {
    const first = this.server.room === null;
    try {
      await this.wire.send({ type: "room.enter", expert: this.local.studio.expert.name });
    } catch (error) {
      if (/** @type {any} */ (error).code !== "link_lost") this.onFailure(error);
      return;
    }
    // The server forgot our connection, which may not know it yet.
    if (!resumed && this.local.onAir) this.own.renew();
    for (const link of [this.own, this.member, this.monitor]) link.mend();
    const comesBack = this.wasOnAir && resumed;
    this.wasOnAir = false;
    if (comesBack) await this.#backOnAir();
    // An encoder was already sending when the studio was opened.
    else if (first && isOnAir(this.server) && !this.local.onAir) this.setSource("encoder");
  }

  /** After a reload in the middle of a stream, before viewers or a session's grace give up. */
  async #backOnAir() {
    await this.openDevice("video");
    await this.openDevice("audio");
    if (this.own.tracks.video !== null) this.goLive();
  }

  /** @param {any} error */
  #publishRefused(error) {
    // Our own old connection may hold the place until the server sees that it is dead.
    if (["link_lost", "timeout", "not_in_room", "not_host", "place_gone"].includes(error?.code)) {
      return true;
    }
    if (error?.code === "already_publishing" && this.local.own.phase !== "connecting") return true;
    this.onFailure(error);
    this.patch({ onAir: false });
    return false;
  }

  /** Brings media into line with what the server says. */
  #sync() {
    const { room, link } = this.server;
    if (room === null || link !== "online") return;
    if (this.local.onAir) this.own.publish(["video", "audio"]);
    if (inPrivate(this.server) && this.server.session?.phase !== "ending") this.member.open();
    else if (this.member.phase !== "idle" || this.member.wanted) this.member.close();
    const monitors = this.local.source === "encoder" && isOnAir(this.server);
    if (monitors) this.monitor.open();
    else if (this.monitor.wanted) this.monitor.close();
  }

  /** @param {{feed: string, direction: string, reason: string}} message */
  #stopped({ feed, direction, reason }) {
    if (feed === STREAM && direction === "publish") {
      this.own.unpublish();
      // The expert's own wish, from here or from another tab; anything else is a broken link.
      if (reason === "offline") this.patch({ onAir: false, figures: null });
    }
    if (feed === STREAM && direction === "watch") this.monitor.close();
    if (feed === PRIVATE && direction === "watch") this.member.close();
    setTimeout(() => this.#sync(), OFFER_AGAIN_MS);
  }

  /** Today's earnings, after a session. */
  async #refresh() {
    try {
      this.patch({ studio: await this.http.studio() });
    } catch {
      // The figure stays a session behind; the summary has shown the right one.
    }
  }

  /**
   * @param {() => Promise<unknown>} run
   * @returns {Promise<boolean>} whether it went well
   */
  async #intent(run) {
    this.patch({ busy: true });
    try {
      await run();
      return true;
    } catch (error) {
      this.onFailure(error);
      return false;
    } finally {
      this.patch({ busy: false });
    }
  }

  async watch() {
    for (const connection of [this.own, this.member, this.monitor]) void connection.checkFlow();
    if (this.own.peer !== null && this.own.view.phase === "up") {
      const reports = await this.own.peer.getStats();
      this.patch({ figures: figures(reports.values(), "out", this.local.figures) });
    } else if (this.monitor.peer !== null && this.monitor.phase === "up") {
      const reports = await this.monitor.peer.getStats();
      const seen = figures(reports.values(), "in", this.local.figures);
      // Loss and delay of our own line say nothing about the encoder's.
      this.patch({ figures: { ...seen, rttMs: null, lossPercent: null } });
    }
  }
}
