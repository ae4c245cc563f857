// What a visitor in a room and an expert at the desk have in common: the server's state as the wire
// tells it, signalling of media, and a watchdog for what fails without an event. Knows no DOM.

import { AWAY, Look } from "./figures/look.js";
import { RESTART_REPLY_MS } from "./rtc.js";
import { INITIAL, inPrivate, reduce } from "./state.js";
import { Store } from "./store.js";

/** @typedef {import("./state.js").State} State */

export const STREAM = "stream";
export const PRIVATE = "private";
/** A feed that the server stopped is offered again after this, if it is still wanted. */
export const OFFER_AGAIN_MS = 400;
const WATCHDOG_MS = 1_000;
/** The HUD comes every second; a link that is silent this long in a session is dead. */
const SILENT_MS = 6_000;

/**
 * To be extended: `ways`, `enter`, `heard` and `watch` are called here and said there.
 * @template L what this side knows by itself
 */
export class InRoom {
  /** @type {Store<{server: State, local: L & {look: import("./figures/look.js").LookView}}>} */ store;

  #lastMessageMs = 0;
  #watchdog = 0;
  /** @type {(() => void)[]} ends the subscriptions */
  #subscriptions = [];

  /**
   * @param {object} options
   * @param {any} options.wire the page's hub
   * @param {L} options.local
   * @param {(session: string) => Promise<any>} options.fetchSummary of a session that the wire lost
   * @param {(error: unknown) => void} options.onFailure something that no dialog shows
   * @param {() => number} [options.nowMs]
   */
  constructor({ wire, local, fetchSummary, onFailure, nowMs = () => performance.now() }) {
    this.wire = wire;
    this.fetchSummary = fetchSummary;
    this.onFailure = onFailure;
    this.nowMs = nowMs;
    this.store = new Store({ server: INITIAL, local: { ...local, look: AWAY } });
    this.look = new Look({
      wire,
      ways: () => this.ways(),
      onChange: (look) => {
        this.store.patch({ local: { ...this.local, look } });
        if (!look.on) this.reduce({ type: "local.look_away" });
      },
    });
  }

  get server() {
    return this.store.value.server;
  }

  get local() {
    return this.store.value.local;
  }

  /** Subscribes; `enter` is called as soon as the wire says welcome. */
  start() {
    const offStatus = this.wire.onStatus((/** @type {any} */ status, /** @type {any} */ detail) => {
      const closedWith = detail?.closed ? (detail.code ?? 0) : null;
      this.reduce({ type: "local.link", status, closedWith });
    });
    const offMessage = this.wire.onMessage((/** @type {any} */ message) => this.#received(message));
    this.#subscriptions = [offStatus, offMessage];
    this.#watchdog = /** @type {any} */ (setInterval(() => this.#tick(), WATCHDOG_MS));
  }

  /** Nothing is watched or counted any more; the server is still heard. */
  rest() {
    clearInterval(this.#watchdog);
    this.look.away();
  }

  /** The server is not heard any more. */
  unsubscribe() {
    for (const end of this.#subscriptions.splice(0)) end();
  }

  /** @returns {import("./figures/look.js").Way[]} this tab's connections */
  ways() {
    return [];
  }

  /** @param {boolean} resumed the place of before was kept */
  async enter(resumed) {}

  /**
   * After the state has taken it in.
   * @param {any} message
   * @param {State} before
   */
  heard(message, before) {}

  /** Once a second: figures for the curious, and cures for what fails without an event. */
  async watch() {}

  /**
   * @param {string} text
   * @param {string | null} session whose two alone may read it; null for the room
   * @returns {Promise<boolean>} whether it was taken
   */
  async say(text, session) {
    return this.sent({ type: "chat.send", text, ...(session === null ? {} : { session }) });
  }

  /**
   * @param {object} message whose failure is told
   * @returns {Promise<boolean>} whether it was taken
   */
  async sent(message) {
    try {
      await this.wire.send(message);
      return true;
    } catch (error) {
      this.onFailure(error);
      return false;
    }
  }

  /** @param {"summary" | "unstarted" | "lowBalance"} what */
  dismiss(what) {
    this.reduce({ type: "local.dismiss", what });
  }

  /** @param {Partial<L>} change */
  patch(change) {
    this.store.patch({ local: { ...this.local, ...change } });
  }

  /** @param {any} message of the server, or a local one */
  reduce(message) {
    this.store.patch({ server: reduce(this.server, message) });
  }

  /**
   * @param {"media.watch" | "media.publish"} type
   * @param {string} feed
   * @param {string} sdp
   * @returns {Promise<string>} the answer
   */
  async offer(type, feed, sdp) {
    return (await this.wire.send({ type, feed, sdp })).sdp;
  }

  /**
   * @param {"watch" | "publish"} direction
   * @param {string} feed
   * @param {{ ufrag: string, pwd: string }} ice
   */
  restart(direction, feed, ice) {
    return this.wire.send({ type: "media.restart", feed, direction, ...ice }, RESTART_REPLY_MS);
  }

  /** @param {any} message */
  #received(message) {
    this.#lastMessageMs = this.nowMs();
    const before = this.server;
    this.look.heard(message);
    if (message.type === "figures" && !this.look.view.on) return; // sent before we looked away
    this.reduce(message);
    if (message.type === "welcome") {
      if (!message.resumed && inPrivate(before)) {
        void this.#showLost(before.session?.session ?? "");
      }
      // Also after a resume: entering the room one is in changes nothing, and a place that was
      // resumed before it had a room would otherwise stay without one.
      void this.enter(message.resumed);
    }
    this.heard(message, before);
  }

  /**
   * The server restarted in the middle of a session: what it charged is asked for instead.
   * @param {string} session
   */
  async #showLost(session) {
    try {
      this.reduce({ ...(await this.fetchSummary(session)), type: "private.summary" });
    } catch (error) {
      this.onFailure(error);
    }
  }

  #tick() {
    const nowMs = this.nowMs();
    const { session, link } = this.server;
    const silent = nowMs - this.#lastMessageMs > SILENT_MS;
    if (link === "online" && session?.phase === "active" && silent) {
      this.#lastMessageMs = nowMs;
      this.wire.reconnect();
    }
    void this.look.read();
    void this.watch();
  }
}
