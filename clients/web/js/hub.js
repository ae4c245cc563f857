// One WebSocket per tab, shared by everything on the page.

import { wsTicket } from "./api.js";
import { language } from "./i18n.js";
import { sessionFromMessage, updateSession } from "./session.js";

/**
 * @typedef {Record<string, any>} Message
 * @typedef {"connecting" | "online" | "offline"} Status
 */

/**
 * The page's wire. It connects at `start()`, so that a page has subscribed before the first
 * message comes. `send` waits for `start`.
 */
export function createHub() {
  /** @type {Set<(message: Message) => void>} */
  const listeners = new Set();
  /** @type {Set<(status: string, detail?: unknown) => void>} */
  const statusListeners = new Set();
  /** @type {(wire: any) => void} */
  let wireIsThere = () => {};
  /** @type {Promise<any>} */
  const wire = new Promise((resolve) => {
    wireIsThere = resolve;
  });
  let started = false;
  let over = false;
  let status = "connecting";
  /** @type {Message | null} the newest greeting, kept true, for a page that comes later */
  let welcome = null;

  /** @param {Message} message */
  function remember(message) {
    if (message.type === "welcome") welcome = { ...message, resumed: false };
    if (welcome === null) return;
    if (message.type === "wallet.balance") welcome = { ...welcome, balance: message.balance };
    if (message.type === "account.upgraded") welcome = { ...welcome, you: message.you };
  }

  return {
    /** Connect; later calls change nothing. */
    async start() {
      if (started) return;
      started = true;
      const { createWire } = await import("./wire.js");
      wireIsThere(
        createWire({
          ticket: wsTicket,
          language: language(),
          onMessage(/** @type {Message} */ message) {
            sessionFromMessage(message);
            remember(message);
            for (const listener of listeners) listener(message);
          },
          onStatus(/** @type {string} */ now, /** @type {any} */ detail) {
            status = now;
            over = Boolean(detail?.closed);
            updateSession({ online: now !== "offline" });
            for (const listener of statusListeners) listener(now, detail);
          },
        }),
      );
    },
    /**
     * @param {Message} message
     * @param {number} [timeoutMs] after which the link is held to be dead
     * @returns {Promise<any>} the reply; rejects with the server's `error`
     */
    async send(message, timeoutMs) {
      return (await wire).send(message, timeoutMs);
    },
    /**
     * @param {(message: Message) => void} listener gets every server message, and first of all, if
     *   the link is up already, the greeting that it missed
     * @returns {() => void} unsubscribe
     */
    onMessage(listener) {
      listeners.add(listener);
      if (welcome !== null && status === "online") listener(welcome);
      return () => listeners.delete(listener);
    },
    /**
     * @param {(status: string, detail?: unknown) => void} listener
     * @returns {() => void} unsubscribe
     */
    onStatus(listener) {
      statusListeners.add(listener);
      listener(status);
      return () => statusListeners.delete(listener);
    },
    /** False once the connection was ended for good: only a new document helps. */
    alive: () => !over,
    /** Drop a connection that went silent and make a new one, which resumes its place. */
    async reconnect() {
      if (started) (await wire).reconnect();
    },
    /** End the connection for good. */
    async close() {
      if (started) (await wire).close();
    },
  };
}
