// The WebSocket of one tab: ticket, hello, resume, ids, sequence, reconnect. Knows no DOM.

/**
 * @typedef {import("../wire.js").ServerMessage} ServerMessage
 * @typedef {import("../wire.js").ClientMessage} ClientMessage
 * @typedef {import("../wire.js").Welcome} Welcome
 * @typedef {"idle" | "connecting" | "open" | "lost" | "closed"} LinkState
 *
 * @typedef {object} WireOptions
 * @property {string} url the address of `/ws`, with `ws:` or `wss:`
 * @property {() => Promise<string>} ticket fetches a one-time ticket; may reject with `{status}`
 * @property {"en" | "nb"} language of presets and server texts
 * @property {string | null} [resume] token of an earlier connection of this tab
 * @property {new (url: string, protocols: string) => WebSocket} [socketClass] for tests
 * @property {() => number} [random] 0 ≤ x < 1, for jitter
 * @property {(run: () => void, delayMs: number) => unknown} [setTimer]
 * @property {(timer: any) => void} [clearTimer]
 */

export const SUBPROTOCOL = "parlour.v1";

const CLOSE_NORMAL = 1000;
const CLOSE_BAD_MESSAGE = 4400;
const CLOSE_UNAUTHENTICATED = 4401;
const CLOSE_REPLACED = 4409;
const CLOSE_TOO_MANY_MESSAGES = 4429;
const CLOSE_TOO_MANY_CONNECTIONS = 4430;
/** Ours: the server's numbering has a gap, so something was lost; a fresh connection heals it. */
const CLOSE_GAP = 4000;

const BACKOFF_FIRST_MS = 400;
/** A session's grace is 30 s; five tries must fit into it even with the worst jitter. */
const BACKOFF_MAX_MS = 5_000;
const BACKOFF_FLOODED_MS = 10_000;
/** A socket that is neither open nor refused after this long is given up: captive portals do it. */
const OPEN_TIMEOUT_MS = 8_000;
/** A ticket that does not come by then waits for a dead network: TCP would go on trying at longer
 * and longer intervals, and notice only after many seconds that the network is back. */
const TICKET_TIMEOUT_MS = 5_000;
/** After a loss the first tries wait less: on another network a browser asks over every connection
 * that it had kept open to us, one dead one after the other, before it makes a new one. */
const TICKET_AGAIN_MS = 1_500;
const TICKET_AGAIN_TRIES = 3;
const REPLY_TIMEOUT_MS = 10_000;
/** Tickets refused this often in a row are not bad luck. */
const UNAUTHENTICATED_MAX = 2;

/** What a request failed with; `code` is the server's, or `link_lost` or `timeout`. */
export class WireError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {Record<string, string | number | boolean>} data
   */
  constructor(code, message = code, data = {}) {
    super(message);
    this.name = "WireError";
    this.code = code;
    this.data = data;
  }
}

/** One connection that mends itself. Listeners get every server message, in order. */
export class Wire {
  /** @type {LinkState} */ state = "idle";
  /** @type {Welcome | null} the newest greeting */ welcome = null;
  /** @type {number | null} the code of the last close */ closeCode = null;
  /** @type {string | null} */ resume;

  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Set<(message: ServerMessage) => void>} */ #listeners = new Set();
  /** @type {Set<(state: LinkState) => void>} */ #linkListeners = new Set();
  /** @type {Map<number, {resolve: (m: any) => void, reject: (e: WireError) => void, timer: any}>} */
  #waiting = new Map();
  #nextId = 1;
  #seq = 0;
  #attempt = 0;
  #refused = 0;
  /** @type {any} */ #timer = null;
  /** Grows with every attempt, so that answers to an abandoned one are ignored. */
  #generation = 0;

  /** @param {WireOptions} options */
  constructor(options) {
    this.resume = options.resume ?? null;
    this.url = options.url;
    this.language = options.language;
    this.ticket = options.ticket;
    this.socketClass = options.socketClass ?? WebSocket;
    this.random = options.random ?? Math.random;
    this.setTimer = options.setTimer ?? ((run, delayMs) => setTimeout(run, delayMs));
    this.clearTimer = options.clearTimer ?? ((timer) => clearTimeout(timer));
  }

  /** Connects; harmless when already connected or connecting. */
  start() {
    if (this.state === "idle" || this.state === "closed") {
      this.#attempt = 0;
      this.#refused = 0;
      void this.#connect();
    }
  }

  /** Leaves for good: no reconnect, waiting requests fail. */
  stop() {
    this.#abandon();
    this.#setState("closed");
  }

  /** Drops what there is and connects now: the network came back, or the link went silent. */
  reconnect() {
    if (this.state === "closed" || this.state === "idle") return;
    this.#abandon();
    this.#attempt = 0;
    void this.#connect();
  }

  /**
   * Calls `listener` with every server message, in order.
   * @param {(message: ServerMessage) => void} listener
   * @returns {() => void} stops it
   */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Calls `listener` with every change of the link's state.
   * @param {(state: LinkState) => void} listener
   * @returns {() => void} stops it
   */
  onLink(listener) {
    this.#linkListeners.add(listener);
    return () => this.#linkListeners.delete(listener);
  }

  /**
   * Sends without waiting for an answer.
   * @param {ClientMessage} message
   * @returns {boolean} whether the link was open
   */
  send(message) {
    if (this.state !== "open" || this.#socket === null) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Sends with an id and waits for its answer.
   * @param {ClientMessage} message
   * @param {number} [timeoutMs]
   * @returns {Promise<any>} the answering message; rejects with a WireError
   */
  request(message, timeoutMs = REPLY_TIMEOUT_MS) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...message, id })) {
        reject(new WireError("link_lost"));
        return;
      }
      const timer = this.setTimer(() => {
        this.#waiting.delete(id);
        reject(new WireError("timeout"));
        // The server answers everything; silence means that the link only looks alive.
        this.reconnect();
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer });
    });
  }

  async #connect() {
    const generation = ++this.#generation;
    this.#setState(this.#attempt === 0 && this.welcome === null ? "connecting" : "lost");
    const again = this.welcome !== null && this.#attempt < TICKET_AGAIN_TRIES;
    const patienceMs = again ? TICKET_AGAIN_MS : TICKET_TIMEOUT_MS;
    this.#timer = this.setTimer(() => this.#lost(generation, 1006), patienceMs);
    let ticket;
    try {
      ticket = await this.ticket();
    } catch {
      if (generation === this.#generation) this.#lost(generation, 1006);
      return;
    }
    if (generation !== this.#generation) return;
    this.clearTimer(this.#timer);
    const socket = new this.socketClass(this.url, SUBPROTOCOL);
    this.#socket = socket;
    this.#timer = this.setTimer(() => this.#lost(generation, 1006), OPEN_TIMEOUT_MS);
    socket.onopen = () => {
      /** @type {import("../wire.js").Hello} */
      const hello = { type: "hello", ticket, language: this.language };
      if (this.resume !== null) hello.resume = this.resume;
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = (event) => {
      if (generation === this.#generation) this.#received(generation, event.data);
    };
    socket.onclose = (event) => this.#lost(generation, event.code);
  }

  /**
   * @param {number} generation
   * @param {string} text
   */
  #received(generation, text) {
    /** @type {ServerMessage} */
    const message = JSON.parse(text);
    // Messages of one connection are numbered from 1; defaults are left out of the JSON.
    const seq = message.seq ?? 0;
    if (seq !== this.#seq + 1) {
      this.#lost(generation, CLOSE_GAP);
      return;
    }
    this.#seq = seq;
    if (message.type === "welcome") this.#greeted(message);
    this.#answer(message);
    for (const listener of [...this.#listeners]) listener(message);
  }

  /** @param {Welcome} message */
  #greeted(message) {
    this.clearTimer(this.#timer);
    this.welcome = message;
    this.resume = message.resume;
    this.#attempt = 0;
    this.#refused = 0;
    this.#setState("open");
  }

  /** @param {ServerMessage} message */
  #answer(message) {
    const id = "id" in message ? message.id : null;
    if (typeof id !== "number") return;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    this.clearTimer(waiting.timer);
    if (message.type === "error") {
      waiting.reject(new WireError(message.code, message.message, message.data ?? {}));
    } else {
      waiting.resolve(message);
    }
  }

  /**
   * @param {number} generation
   * @param {number} code
   */
  #lost(generation, code) {
    if (generation !== this.#generation) return;
    this.closeCode = code;
    this.#abandon(code === CLOSE_GAP ? CLOSE_GAP : CLOSE_NORMAL);
    if (code === CLOSE_UNAUTHENTICATED) {
      // The resume token may be what is refused: the next try does without it.
      this.resume = null;
      this.#refused += 1;
    }
    const hopeless =
      code === CLOSE_REPLACED ||
      code === CLOSE_BAD_MESSAGE ||
      this.#refused >= UNAUTHENTICATED_MAX;
    if (hopeless) {
      this.#setState("closed");
      return;
    }
    const tooMuch = code === CLOSE_TOO_MANY_MESSAGES || code === CLOSE_TOO_MANY_CONNECTIONS;
    this.#again(tooMuch ? BACKOFF_FLOODED_MS : 0);
  }

  /** Tries again after a random pause, so that a restarted server is not stormed. */
  #again(leastMs = 0) {
    const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#setState("lost");
    const generation = this.#generation;
    this.#timer = this.setTimer(
      () => {
        if (generation === this.#generation) void this.#connect();
      },
      leastMs + ceilingMs * (0.5 + this.random() / 2),
    );
  }

  /** @param {number} code told to the server, if it still listens */
  #abandon(code = CLOSE_NORMAL) {
    this.#generation += 1;
    this.clearTimer(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#seq = 0;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of waiting) {
      this.clearTimer(timer);
      reject(new WireError("link_lost"));
    }
  }

  /** @param {LinkState} state */
  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    for (const listener of [...this.#linkListeners]) listener(state);
  }
}

const RESUME_KEY = "parlour.resume";

/**
 * The page's wire: connects at once, remembers its place across a reload of the same page, and
 * tries again as soon as the browser says that the network is back.
 *
 * @param {object} options
 * @param {() => Promise<string>} options.ticket
 * @param {"en" | "nb"} options.language
 * @param {(message: ServerMessage) => void} options.onMessage
 * @param {(status: "connecting" | "online" | "offline", detail: {closed: boolean, code: number | null}) => void} options.onStatus
 */
export function createWire({ ticket, language, onMessage, onStatus }) {
  const { protocol, host, pathname } = location;
  const wire = new Wire({
    url: `${protocol === "https:" ? "wss:" : "ws:"}//${host}/ws`,
    ticket,
    language,
    resume: takeResume(pathname),
  });
  wire.on(onMessage);
  wire.onLink((state) => {
    const status = { idle: "connecting", connecting: "connecting", open: "online" }[
      /** @type {string} */ (state)
    ];
    onStatus(/** @type {any} */ (status ?? "offline"), {
      closed: state === "closed",
      code: wire.closeCode,
    });
  });
  addEventListener("online", () => wire.reconnect());
  // A page that comes back from the back-forward cache has a dead socket.
  addEventListener("pageshow", (event) => event.persisted && wire.reconnect());
  // Kept only from unload to load: a duplicated tab must not take this tab's place.
  addEventListener("pagehide", () => {
    if (wire.resume !== null && wire.state !== "closed") {
      sessionStorage.setItem(RESUME_KEY, JSON.stringify({ pathname, token: wire.resume }));
    }
  });
  wire.start();
  return {
    /**
     * @param {ClientMessage} message
     * @param {number} [timeoutMs]
     */
    send: (message, timeoutMs) => wire.request(message, timeoutMs),
    reconnect: () => wire.reconnect(),
    close: () => wire.stop(),
  };
}

/**
 * The token that this page left at its last unload; only a reload of the same page may use it.
 * @param {string} pathname
 * @returns {string | null}
 */
function takeResume(pathname) {
  const text = sessionStorage.getItem(RESUME_KEY);
  sessionStorage.removeItem(RESUME_KEY);
  if (text === null) return null;
  try {
    const kept = JSON.parse(text);
    return kept.pathname === pathname && typeof kept.token === "string" ? kept.token : null;
  } catch {
    return null;
  }
}
