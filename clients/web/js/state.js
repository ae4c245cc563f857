// What the server has said about this tab, as one pure reducer. Knows no DOM and no clock.

/**
 * @typedef {import("../wire.js").ServerMessage} ServerMessage
 * @typedef {import("../wire.js").ExpertCard} ExpertCard
 * @typedef {import("../wire.js").ChatLine} ChatLine
 * @typedef {import("../wire.js").Preset} Preset
 * @typedef {import("../wire.js").SessionView} SessionView
 * @typedef {import("../wire.js").PrivateHud} PrivateHud
 * @typedef {import("../wire.js").PrivateIncoming} PrivateIncoming
 * @typedef {import("../wire.js").PrivateSummary} PrivateSummary
 * @typedef {import("../wire.js").EndReason} EndReason
 * @typedef {import("../wire.js").QualityLevel} QualityLevel
 * @typedef {"none" | "offline" | "private"} Wall
 * @typedef {"connecting" | "online" | "offline"} LinkStatus
 *
 * @typedef {object} Room
 * @property {ExpertCard} expert
 * @property {string} about
 * @property {boolean} youHost
 * @property {boolean} favorite
 * @property {Preset[]} presets
 * @property {Wall} wall
 *
 * @typedef {object} State
 * @property {LinkStatus} link
 * @property {number | null} closedWith close code of a link that will not come back
 * @property {import("../wire.js").You | null} you
 * @property {import("../wire.js").Balance | null} balance
 * @property {ExpertCard[]} experts
 * @property {Room | null} room
 * @property {"left" | "kicked" | "replaced" | "closed" | null} roomLeft
 * @property {ChatLine[]} chat oldest first
 * @property {SessionView | null} session the running one
 * @property {PrivateHud | null} hud
 * @property {number | null} lowBalanceS the warning that stands, in seconds left
 * @property {string} lowCause what ends the session then: the balance or a limit
 * @property {PrivateIncoming | null} incoming the request that rings (experts only)
 * @property {PrivateSummary | null} summary of the session that ended last
 * @property {{session: SessionView, reason: EndReason} | null} unstarted a request that came to nothing
 * @property {Record<string, {level: QualityLevel, reason: string}>} quality by "feed:direction", with
 *   "far:" before it for the other person's end
 * @property {import("../wire.js").ConnectionFigures[] | null} figures of this visitor's connections
 *   by the server's counters; null while nobody looks
 * @property {number | null} drainingS
 *
 * @typedef {{type: "local.link", status: LinkStatus, closedWith: number | null}
 *   | {type: "local.dismiss", what: "summary" | "unstarted" | "lowBalance" | "incoming"}
 *   | {type: "local.look_away"}
 *   | {type: "local.leave"}} LocalMessage things that happened on this side
 */

/** A tab that stays open all day must not grow; the server itself keeps 50. */
export const CHAT_LINES_MAX = 200;

/** @type {State} */
export const INITIAL = Object.freeze({
  link: "connecting",
  closedWith: null,
  you: null,
  balance: null,
  experts: [],
  room: null,
  roomLeft: null,
  chat: [],
  session: null,
  hud: null,
  lowBalanceS: null,
  lowCause: "balance_empty",
  incoming: null,
  summary: null,
  unstarted: null,
  quality: {},
  figures: null,
  drainingS: null,
});

/**
 * The state after a message. Never changes its arguments; returns `state` itself when the message
 * tells nothing new.
 * @param {State} state
 * @param {ServerMessage | LocalMessage} message
 * @returns {State}
 */
export function reduce(state, message) {
  switch (message.type) {
    case "welcome":
      return welcomed(state, message);
    case "ack":
    case "error":
    case "media.answer":
    case "media.restarted":
      return state; // answers belong to whoever asked
    case "presence.list":
      return { ...state, experts: message.experts };
    case "presence.changed":
      return { ...state, experts: patched(state.experts, message.expert) };
    case "presence.gone":
      return { ...state, experts: state.experts.filter((card) => card.name !== message.name) };
    case "room.entered":
      return entered(state, message);
    case "room.left":
      return { ...withoutRoom(state), roomLeft: message.reason };
    case "room.state":
      if (state.room === null) return state;
      return {
        ...state,
        room: { ...state.room, expert: message.expert, wall: message.wall },
        // Behind a wall nobody tells how it goes on there.
        quality: message.wall === "none" ? state.quality : without(state.quality, /^far:stream:publish$/),
      };
    case "chat.message":
      return { ...state, chat: appended(state.chat, message.line) };
    case "media.stopped":
      return { ...state, quality: without(state.quality, mediaKeys(message.feed, message.direction)) };
    case "media.quality": {
      const { feed, direction, level, reason, far } = message;
      const key = `${far ? "far:" : ""}${feed}:${direction}`;
      return { ...state, quality: { ...state.quality, [key]: { level, reason } } };
    }
    case "figures":
      return { ...state, figures: message.connections };
    case "private.incoming":
      return { ...state, incoming: message, summary: null };
    case "private.state":
      return sessionChanged(state, message.session);
    case "private.hud":
      return hudShown(state, message);
    case "private.low_balance":
      if (state.session?.session !== message.session) return state;
      return { ...state, lowBalanceS: message.seconds_left, lowCause: message.cause };
    case "private.summary":
      return summarised(state, message);
    case "wallet.balance":
      return { ...state, balance: message.balance };
    case "account.upgraded":
      return { ...state, you: message.you };
    case "wallet.changed":
      return state; // of the wallet's page, not of a room
    case "server.draining":
      return { ...state, drainingS: message.seconds };
    case "local.link":
      return { ...state, link: message.status, closedWith: message.closedWith };
    case "local.dismiss":
      return dismissed(state, message.what);
    case "local.look_away":
      return { ...state, figures: null };
    case "local.leave":
      return withoutRoom(state);
    default:
      return unknown(message, state);
  }
}

/** Phases in which picture or sound may flow between the two. */
const LIVE_PHASES = new Set(["connecting", "active", "paused", "ending"]);

/** @param {State} state the session whose two read what is written now; null for the room */
export function circle(state) {
  return inPrivate(state) ? (state.session?.session ?? null) : null;
}

/** @param {State} state whether a session has left the ringing behind */
export function inPrivate(state) {
  return state.session !== null && LIVE_PHASES.has(state.session.phase);
}

/**
 * @param {State} state
 * @param {import("../wire.js").Welcome} message
 */
function welcomed(state, message) {
  const known = {
    ...state,
    you: message.you,
    balance: message.balance ?? state.balance,
    drainingS: null,
  };
  // A place that was not kept is gone with all that hung on it; `room.enter` starts afresh.
  return message.resumed ? known : { ...withoutRoom(known), room: state.room, chat: state.chat };
}

/**
 * @param {State} state
 * @param {import("../wire.js").RoomEntered} message
 * @returns {State}
 */
function entered(state, message) {
  const { expert, about, you_host: youHost, favorite, presets, wall } = message;
  const next = {
    ...state,
    room: { expert, about, youHost, favorite, presets, wall },
    roomLeft: null,
    chat: message.chat.slice(-CHAT_LINES_MAX),
  };
  const session = message.session ?? null;
  if (session !== null) return sessionChanged(next, session);
  return { ...next, session: null, hud: null, incoming: null, lowBalanceS: null };
}

/**
 * @param {State} state
 * @param {SessionView} session
 * @returns {State}
 */
function sessionChanged(state, session) {
  const answered = state.incoming?.session.session === session.session && session.phase !== "ringing";
  const incoming = answered ? null : state.incoming;
  if (session.phase !== "ended") {
    const same = state.session?.session === session.session;
    return {
      ...state,
      incoming,
      session,
      hud: same ? state.hud : null,
      lowBalanceS: same ? state.lowBalanceS : null,
      summary: same ? state.summary : null,
      unstarted: null,
    };
  }
  const quality = without(state.quality, OF_SESSION);
  const ended = { ...state, incoming, session: null, hud: null, lowBalanceS: null, quality };
  const started = state.hud !== null || state.summary?.session === session.session;
  if (started || session.reason == null) return ended;
  return { ...ended, unstarted: { session, reason: session.reason } };
}

/**
 * @param {State} state
 * @param {PrivateHud} hud
 */
function hudShown(state, hud) {
  if (state.session?.session !== hud.session) return state;
  // A top-up ends the warning; the next threshold would come as a new one.
  const enough =
    state.lowBalanceS !== null && hud.time_left_s != null && hud.time_left_s > state.lowBalanceS + 5;
  return { ...state, hud, lowBalanceS: enough ? null : state.lowBalanceS };
}

/**
 * @param {State} state
 * @param {PrivateSummary} summary
 */
function summarised(state, summary) {
  const quality = without(state.quality, OF_SESSION);
  const ended = { ...state, session: null, hud: null, lowBalanceS: null, incoming: null, quality };
  return { ...ended, summary, unstarted: null };
}

/**
 * @param {State} state
 * @param {"summary" | "unstarted" | "lowBalance" | "incoming"} what
 */
function dismissed(state, what) {
  switch (what) {
    case "summary":
      return { ...state, summary: null };
    case "unstarted":
      return { ...state, unstarted: null };
    case "lowBalance":
      return { ...state, lowBalanceS: null };
    case "incoming":
      return { ...state, incoming: null };
    default:
      return unknown(what, state);
  }
}

/**
 * @param {State} state
 * @returns {State}
 */
function withoutRoom(state) {
  return {
    ...state,
    room: null,
    chat: [],
    session: null,
    hud: null,
    lowBalanceS: null,
    incoming: null,
    quality: {},
    figures: null,
  };
}

/**
 * @param {ExpertCard[]} experts
 * @param {ExpertCard} changed
 */
function patched(experts, changed) {
  const there = experts.some((card) => card.name === changed.name);
  if (!there) return [...experts, changed];
  return experts.map((card) => (card.name === changed.name ? changed : card));
}

/**
 * @param {ChatLine[]} chat
 * @param {ChatLine} line
 */
function appended(chat, line) {
  // After a resume the server may repeat what it is not sure that we got.
  if (chat.length > 0 && line.n <= chat[chat.length - 1].n) return chat;
  return [...chat, line].slice(-CHAT_LINES_MAX);
}

/** What the two of a session hear of each other's ways, and the member's feed. */
const OF_SESSION = /^(far:)?private:|^far:stream:watch$/;

/**
 * A connection of ours, and the other end of what it carried.
 * @param {string} feed
 * @param {string} direction
 */
function mediaKeys(feed, direction) {
  return new RegExp(`^${feed}:${direction}$|^far:${feed}:`);
}

/**
 * @template T
 * @param {Record<string, T>} record
 * @param {RegExp} keys
 * @returns {Record<string, T>}
 */
function without(record, keys) {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.test(key)));
}

/**
 * The checker proves that nothing gets here; at run time a newer server's message changes nothing.
 * @param {never} _message
 * @param {State} state
 */
function unknown(_message, state) {
  return state;
}
