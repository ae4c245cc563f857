// Who the visitor is and what they own, as the server last said; pages subscribe to it.

import { useEffect, useState } from "../vendor/preact-htm.js";

/**
 * @typedef {{ role: string, name: string, premium: boolean, rank: string, language: string, locked: string[] }} You
 * @typedef {{ paid_units: number, promo_units: number, held_units: number, available_units: number }} Balance
 * @typedef {{ me: You | null, balance: Balance | null, online: boolean, staff: boolean }} Session `staff`
 *   shows what the server answers to staff only
 */

/** @type {Session} */
let session = { me: null, balance: null, online: true, staff: false };
/** @type {Set<(session: Session) => void>} */
const listeners = new Set();

/**
 * What is the member's, with what a running session has set aside for its next seconds: the same
 * number that the session itself shows as balance, so that the two never seem to disagree.
 * @param {Balance} balance
 */
export function ownedUnits(balance) {
  return balance.paid_units + balance.promo_units;
}

/** @returns {Session} */
export function currentSession() {
  return session;
}

/** @param {Partial<Session>} change */
export function updateSession(change) {
  session = { ...session, ...change };
  for (const listener of listeners) listener(session);
}

/**
 * @param {(session: Session) => void} listener
 * @returns {() => void} unsubscribe
 */
export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The session as a hook: the component renders again when it changes. */
export function useSession() {
  const [value, setValue] = useState(session);
  useEffect(() => {
    setValue(session);
    return onSession(setValue);
  }, []);
  return value;
}

/**
 * Take what a server message says about the visitor.
 * @param {Record<string, any>} message
 */
export function sessionFromMessage(message) {
  switch (message.type) {
    case "welcome":
      updateSession({
        me: message.you.role === "guest" ? null : message.you,
        balance: message.balance ?? session.balance,
      });
      break;
    case "wallet.balance":
      updateSession({ balance: message.balance });
      break;
    case "account.upgraded":
      updateSession({ me: message.you });
      break;
    default:
  }
}
