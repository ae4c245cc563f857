// What a visitor of a room can do and what follows from what the server says. Knows no DOM.

import { DeviceError } from "../devices.js";
import { NOTHING_ON, OwnMedia } from "../own-media.js";
import { InRoom, OFFER_AGAIN_MS, PRIVATE, STREAM } from "../in-room.js";
import { Watcher } from "../rtc.js";
import { inPrivate } from "../state.js";
import { figures } from "../stats.js";

/**
 * @typedef {import("../state.js").State} State
 * @typedef {import("../wire.js").WireError} WireError
 * @typedef {"cam2cam" | "two_way_audio"} Surcharge
 * @typedef {"audio" | "video"} Kind
 *
 * @typedef {{ kind: "start", cam2cam: boolean, two_way_audio: boolean }
 *   | { kind: "switch", component: Surcharge }
 *   | { kind: "join" }
 *   | { kind: "premium" }} DialogView
 *
 * @typedef {object} Local what this side knows by itself
 * @property {import("../rtc.js").LinkPhase} watching
 * @property {boolean} full the server has no room for another viewer; it is asked again and again
 * @property {import("../own-media.js").OwnView} own
 * @property {DialogView | null} dialog
 * @property {boolean} busy an answer is awaited
 * @property {unknown} failure of the last intent, to be shown in the dialog
 * @property {boolean} missing there is no such expert
 * @property {import("../stats.js").Figures | null} figures of the picture received
 * @property {ReadonlySet<Surcharge>} confirmed surcharges whose price was accepted in this session
 */

/** @type {Record<Surcharge, Kind>} */
export const KIND_OF = { cam2cam: "video", two_way_audio: "audio" };
/** @type {Surcharge[]} */
const SURCHARGES = ["cam2cam", "two_way_audio"];
/** The member's picture is shown to one person in a part of their screen. */
const OWN_BITS_PER_S = 1_200_000;
const OWN_TALL = 540;
/** Media that stands still this long on a living connection is asked for anew. */
const STALLED_MS = 8_000;

/** A full server that does not say when to ask again. */
const FULL_RETRY_S = 10;
/** It frees itself for many who wait: each asks at another time, and less often as time goes by. */
const FULL_RETRY_MAX_MS = 60_000;

/** Refusals by which the server says that there is nothing to see now; `room.state` tells when. */
const NOTHING_TO_SEE = new Set(["walled", "no_feed", "not_live", "not_in_room", "no_such_expert"]);

/**
 * One visitor in one room.
 * @extends {InRoom<Local>}
 */
export class RoomController extends InRoom {
  #leaving = false;
  #movedMs = 0;
  #renewedMs = 0;
  /** @type {{width: number, height: number} | null} at which the picture is drawn */ #viewport = null;
  /** Refusals of a full server in a row. */ #fullTimes = 0;

  /**
   * @param {object} options
   * @param {any} options.wire the page's hub
   * @param {string} options.expert
   * @param {() => Promise<RTCConfiguration>} options.iceConfiguration
   * @param {(session: string) => Promise<any>} options.fetchSummary of a session that the wire lost
   * @param {(error: unknown) => void} options.onFailure something that no dialog shows
   * @param {() => number} [options.nowMs]
   * @param {() => number} [options.random] 0 ≤ x < 1
   */
  constructor({ wire, expert, iceConfiguration, fetchSummary, onFailure, nowMs, random }) {
    super({
      wire,
      fetchSummary,
      onFailure,
      nowMs,
      local: {
        watching: "idle",
        full: false,
        own: NOTHING_ON,
        dialog: null,
        busy: false,
        failure: null,
        missing: false,
        figures: null,
        confirmed: new Set(),
      },
    });
    this.expert = expert;
    this.random = random ?? Math.random;
    this.watcher = new Watcher({
      signal: (sdp) => this.#offerToWatch(sdp),
      restart: (ice) => this.restart("watch", STREAM, ice),
      iceConfiguration,
      onPhase: (watching) => this.#watchingChanged(watching),
      onRefused: (error) => this.#watchRefused(error),
    });
    this.own = new OwnMedia({
      signal: (sdp) => this.offer("media.publish", PRIVATE, sdp),
      restart: (ice) => this.restart("publish", PRIVATE, ice),
      iceConfiguration,
      videoBitsPerS: OWN_BITS_PER_S,
      tall: OWN_TALL,
      onChange: (own) => this.patch({ own }),
      onLost: (kind) => void this.#deviceLost(kind),
    });
  }

  ways() {
    return [
      { key: "stream:watch", peer: this.watcher.peer, direction: /** @type {const} */ ("in") },
      { key: "private:publish", peer: this.own.peer, direction: /** @type {const} */ ("out") },
    ];
  }

  start() {
    this.watcher.prepare();
    super.start();
  }

  /** Leaves the room for good: media stops at once, a session ends. A second time is harmless. */
  async leave() {
    if (this.#leaving) return;
    this.#leaving = true;
    this.rest();
    this.own.close();
    this.watcher.close();
    try {
      await this.wire.send({ type: "room.leave" });
    } catch {
      // The link is down: the server ends our place by itself.
    }
    this.unsubscribe();
  }

  /** @param {DialogView} dialog */
  openDialog(dialog) {
    this.patch({ dialog, failure: null });
  }

  closeDialog() {
    this.patch({ dialog: null, failure: null });
  }

  /**
   * The three ways into a private session end here.
   * @param {{ cam2cam?: boolean, two_way_audio?: boolean }} [wanted]
   */
  askPrivate({ cam2cam = false, two_way_audio = false } = {}) {
    const { you } = this.server;
    if (you === null || you.role === "guest") this.openDialog({ kind: "join" });
    else if (!you.premium) this.openDialog({ kind: "premium" });
    else this.openDialog({ kind: "start", cam2cam, two_way_audio });
  }

  /**
   * Rings, after the camera and microphone that were asked for have opened.
   * @param {{ cam2cam: boolean, two_way_audio: boolean, accepted_units_per_s: number, spend_limit_units: number | null }} request
   */
  async confirmPrivate(request) {
    await this.#intent(async () => {
      try {
        for (const component of SURCHARGES) {
          const kind = KIND_OF[component];
          if (!request[component]) this.own.turnOff(kind);
          else if (this.own.tracks[kind] === null) await this.own.turnOn(kind);
        }
        const confirmed = new Set(SURCHARGES.filter((component) => request[component]));
        this.patch({ confirmed });
        await this.wire.send({ type: "private.request", ...request });
      } catch (error) {
        this.own.close();
        throw error;
      }
      this.closeDialog();
    });
  }

  /** Takes the request back. */
  async cancel() {
    await this.#intent(() => this.wire.send({ type: "private.cancel" }));
  }

  /** Ends the session: this side's media first, so that it is immediate whatever the network does. */
  async end() {
    this.own.close();
    await this.#intent(() => this.wire.send({ type: "private.end" }));
  }

  /**
   * The camera or microphone button: outside a session a way into one, inside a switch.
   * @param {Surcharge} component
   */
  async toggle(component) {
    const { session } = this.server;
    if (session === null) return this.askPrivate({ [component]: true });
    if (!["active", "paused"].includes(session.phase)) return;
    if (this.isOn(component)) return this.switchOff(component);
    if (this.local.confirmed.has(component)) return this.switchOn(component);
    this.openDialog({ kind: "switch", component });
  }

  /** @param {Surcharge} component whether this side sends it, or is about to */
  isOn(component) {
    return this.own.tracks[KIND_OF[component]] !== null;
  }

  /** @param {Surcharge} component after its price was confirmed */
  async switchOn(component) {
    const { session } = this.server;
    if (session === null) return;
    const kind = KIND_OF[component];
    await this.#intent(async () => {
      await this.own.turnOn(kind);
      try {
        const accepted_units_per_s = session.prices[component];
        await this.wire.send({ type: "private.switch", component, on: true, accepted_units_per_s });
      } catch (error) {
        this.own.turnOff(kind);
        throw error;
      }
      this.patch({ confirmed: new Set([...this.local.confirmed, component]) });
      this.closeDialog();
      this.#sync();
    });
  }

  /** @param {Surcharge} component */
  async switchOff(component) {
    this.own.turnOff(KIND_OF[component]);
    await this.#intent(() => this.wire.send({ type: "private.switch", component, on: false }));
  }

  async flip() {
    await this.#intent(() => this.own.flip());
  }

  /** @param {string} preset */
  async sayPreset(preset) {
    return this.sent({ type: "chat.preset", preset });
  }

  /**
   * @param {any} message
   * @param {State} before
   */
  heard(message, before) {
    if (message.type === "media.stopped") this.#stopped(message);
    this.#followSession(before);
    this.#sync();
  }

  /** @param {boolean} resumed */
  async enter(resumed) {
    // The offer follows without waiting for the answer: one round trip less to the first picture.
    const entering = this.wire.send({ type: "room.enter", expert: this.expert });
    // A place that was not kept had a connection that is dead, though it may not look so yet.
    if (!resumed && this.watcher.phase !== "idle") this.watcher.renew();
    this.watcher.open();
    this.watcher.mend();
    this.own.mend();
    try {
      await entering;
    } catch (error) {
      const code = /** @type {WireError} */ (error).code;
      if (code === "no_such_expert") this.patch({ missing: true });
      else if (code !== "link_lost") this.onFailure(error);
      this.watcher.close();
    }
  }

  /** @param {string} sdp */
  async #offerToWatch(sdp) {
    const answer = await this.offer("media.watch", STREAM, sdp);
    this.#tellViewport();
    return answer;
  }

  /**
   * The player draws the picture at this size, in device pixels: no larger one is of use.
   * @param {number} width
   * @param {number} height
   */
  viewport(width, height) {
    const same = this.#viewport?.width === width && this.#viewport.height === height;
    if (same) return;
    this.#viewport = { width, height };
    if (this.local.watching !== "idle") this.#tellViewport();
  }

  #tellViewport() {
    if (this.#viewport === null) return;
    // Lost with its connection: the next answer brings it again.
    this.wire.send({ type: "media.viewport", feed: STREAM, ...this.#viewport }).catch(() => {});
  }

  /** @param {import("../rtc.js").LinkPhase} watching */
  #watchingChanged(watching) {
    const over = watching === "up" || watching === "idle";
    if (over) this.#fullTimes = 0;
    this.patch({ watching, ...(over ? { full: false } : {}) });
  }

  /**
   * @param {any} error
   * @returns {boolean | number} whether, or in how many milliseconds, to ask again
   */
  #watchRefused(error) {
    if (error?.code === "overloaded") {
      const firstMs = 1000 * (error.data?.retry_after_s ?? FULL_RETRY_S);
      const waitMs = Math.min(firstMs * 2 ** this.#fullTimes++, FULL_RETRY_MAX_MS);
      this.patch({ full: true });
      return waitMs * (1 + this.random());
    }
    this.patch({ full: false });
    return !(NOTHING_TO_SEE.has(error?.code) && this.server.room?.wall !== "none");
  }

  /** Brings media into line with what the server says. */
  #sync() {
    if (this.#leaving) return;
    const { room, session, link } = this.server;
    if (room !== null) {
      if (room.wall === "none") this.watcher.open();
      else this.watcher.rest();
    }
    if (link !== "online" || session === null || !inPrivate(this.server)) return;
    if (SURCHARGES.some((component) => this.isOn(component))) {
      // Kinds that this expert does not take are not offered: the server would refuse the line.
      this.own.publish(
        SURCHARGES.filter((component) => session[`${component}_possible`]).map(
          (component) => KIND_OF[component],
        ),
      );
    }
  }

  /** @param {State} before */
  #followSession(before) {
    const { session } = this.server;
    if (session === null) {
      const requesting = this.local.busy && before.session === null;
      if (!requesting && (this.own.tracks.audio !== null || this.own.tracks.video !== null)) {
        this.own.close();
      }
      if (before.session !== null) {
        this.own.unpublish();
        this.patch({ dialog: null, confirmed: new Set() });
      }
      return;
    }
    const same = before.session?.session === session.session;
    for (const component of SURCHARGES) {
      // The server switched it off: not funded any more, or taken away.
      if (same && before.session?.[component] && !session[component]) {
        this.own.turnOff(KIND_OF[component]);
      }
      // After a reload the device is closed here and still on there. It does not open by itself:
      // nobody is shown or heard who did not just press the button.
      if (!same && session[component] && !this.isOn(component)) void this.switchOff(component);
    }
  }

  /** @param {{feed: string, direction: string}} message */
  #stopped({ feed, direction }) {
    if (feed === STREAM && direction === "watch") this.watcher.close();
    if (feed === PRIVATE && direction === "publish") this.own.unpublish();
    setTimeout(() => this.#sync(), OFFER_AGAIN_MS);
  }

  /** @param {Kind} kind */
  async #deviceLost(kind) {
    const component = kind === "video" ? "cam2cam" : "two_way_audio";
    this.onFailure(new DeviceError("missing", kind));
    if (this.server.session !== null) await this.switchOff(component);
  }

  /** Runs an intent; its failure stays with the open dialog, or is told otherwise. */
  async #intent(/** @type {() => Promise<unknown>} */ run) {
    this.patch({ busy: true, failure: null });
    try {
      await run();
    } catch (error) {
      if (this.local.dialog !== null) this.patch({ failure: error });
      else this.onFailure(error);
    } finally {
      this.patch({ busy: false });
    }
  }

  async watch() {
    const nowMs = this.nowMs();
    void this.own.checkFlow();
    void this.watcher.checkFlow(this.server.room?.wall === "none");
    const peer = this.watcher.peer;
    if (peer === null || this.watcher.phase !== "up") return;
    const reports = await peer.getStats();
    const next = figures(reports.values(), "in", this.local.figures);
    if (next.bytes !== this.local.figures?.bytes) this.#movedMs = nowMs;
    this.patch({ figures: next });
    const stalled = this.server.room?.wall === "none" && nowMs - this.#movedMs > STALLED_MS;
    if (stalled && nowMs - this.#renewedMs > 2 * STALLED_MS) {
      this.#renewedMs = nowMs;
      this.watcher.renew();
    }
  }
}
