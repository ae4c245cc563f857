// Looking closer at one's own connections: the server tells its figures for as long as one looks,
// and the browser is asked for what only it knows. Knows no DOM.

import { seen } from "../stats.js";

/**
 * @typedef {object} LookView
 * @property {boolean} on
 * @property {Record<string, import("../stats.js").Seen>} seen what the browser says, by "feed:direction"
 *
 * @typedef {{ key: string, peer: RTCPeerConnection | null, direction: "in" | "out" }} Way
 */

/** @type {LookView} */
export const AWAY = Object.freeze({ on: false, seen: {} });

export class Look {
  /** @type {LookView} */ view = AWAY;

  /**
   * @param {object} options
   * @param {any} options.wire the page's hub
   * @param {() => Way[]} options.ways this tab's connections
   * @param {(view: LookView) => void} options.onChange
   */
  constructor({ wire, ways, onChange }) {
    this.wire = wire;
    this.ways = ways;
    this.onChange = onChange;
  }

  toggle() {
    if (this.view.on) this.away();
    else this.closer();
  }

  /** Begins. */
  closer() {
    if (this.view.on) return;
    this.#show({ on: true, seen: {} });
    this.#tell("figures.subscribe");
    void this.read();
  }

  /** Ends; nobody counts for us any more. */
  away() {
    if (!this.view.on) return;
    this.#show(AWAY);
    this.#tell("figures.unsubscribe");
  }

  /** @param {{type: string}} message every message of the server */
  heard(message) {
    // A new link knows nothing of our wish, and one that was resumed may know an old one.
    if (message.type === "welcome" && this.view.on) this.#tell("figures.subscribe");
    if (message.type === "figures" && !this.view.on) this.#tell("figures.unsubscribe");
  }

  /** Once a second: what the browser says. */
  async read() {
    if (!this.view.on) return;
    const before = this.view.seen;
    /** @type {Record<string, import("../stats.js").Seen>} */
    const now = {};
    for (const { key, peer, direction } of this.ways()) {
      if (peer === null || peer.connectionState !== "connected") continue;
      now[key] = seen((await peer.getStats()).values(), direction, before[key] ?? null);
    }
    if (this.view.on) this.#show({ on: true, seen: now });
  }

  /** @param {LookView} view */
  #show(view) {
    this.view = view;
    this.onChange(view);
  }

  /** @param {"figures.subscribe" | "figures.unsubscribe"} type */
  #tell(type) {
    // A link that is down forgets the subscription by itself; `welcome` asks again.
    this.wire.send({ type }).catch(() => {});
  }
}
