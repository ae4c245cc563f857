// What a movement of credits is called, with whom it is about if that is known.

import { has, t } from "../i18n.js";

/** @param {{ kind: string, expert?: string }} movement */
export function titleOf({ kind, expert }) {
  if (expert && has(`tx.kind_with.${kind}`)) return t(`tx.kind_with.${kind}`, { expert });
  return t(`tx.kind.${has(`tx.kind.${kind}`) ? kind : "other"}`);
}
