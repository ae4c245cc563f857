// The grid's experts: fetched once, then patched by the server's pushes.

import { useCallback, useEffect, useMemo, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { keepOrder, orderOf } from "./grid.js";

/** @typedef {import("./grid.js").Expert} Expert */

/** After the last touch or wheel the hand may still be on its way to a card. */
const HAND_REST_MS = 1_500;

/**
 * All experts by name. A push changes the one card; losing the socket changes nothing.
 * @param {import("../main.js").Context["wire"]} wire
 */
export function useExperts(wire) {
  const [experts, setExperts] = useState(/** @type {Map<string, Expert> | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const take = useCallback((/** @type {Expert[]} */ list) => {
    setExperts(new Map(list.map((expert) => [expert.name, expert])));
    setError(null);
  }, []);
  const load = useCallback(() => {
    setError(null);
    get("/experts").then(
      (answer) => take(answer.experts),
      (reason) => setError(errorText(reason)),
    );
  }, []);
  useEffect(() => {
    load();
    const offMessage = wire.onMessage((message) => {
      if (message.type === "presence.list") take(message.experts);
      if (message.type === "presence.changed") {
        setExperts((known) => known && new Map(known).set(message.expert.name, message.expert));
      }
      if (message.type === "presence.gone") {
        setExperts((known) => known && new Map([...known].filter(([name]) => name !== message.name)));
      }
    });
    const offStatus = wire.onStatus((status) => {
      // A refusal or a lost link leaves the list as it was fetched; the next link asks again.
      if (status === "online") wire.send({ type: "presence.subscribe" }).then(undefined, () => {});
    });
    return () => {
      offMessage();
      offStatus();
    };
  }, []);
  return { experts, error, load };
}

/**
 * Whether nobody is pointing at the grid: no pointer over it, no focus in it, no recent touch.
 * @param {{ current: HTMLElement | null }} grid
 */
function useCalm(grid) {
  const [calm, setCalm] = useState(true);
  const present = Boolean(grid.current);
  useEffect(() => {
    const element = grid.current;
    if (!element) return undefined;
    let timer = 0;
    const busy = () => {
      clearTimeout(timer);
      setCalm(false);
    };
    const rest = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (!element.matches(":hover, :focus-within")) setCalm(true);
      }, HAND_REST_MS);
    };
    const touched = () => {
      busy();
      rest();
    };
    const events = /** @type {const} */ ([
      ["pointerenter", busy],
      ["pointerleave", rest],
      ["focusin", busy],
      ["focusout", rest],
      ["touchstart", touched],
      ["wheel", touched],
    ]);
    for (const [name, listener] of events) element.addEventListener(name, listener, { passive: true });
    return () => {
      clearTimeout(timer);
      for (const [name, listener] of events) element.removeEventListener(name, listener);
    };
  }, [present]);
  return calm;
}

/**
 * The order to show. It follows the experts' states only while nobody points at the grid; a
 * change of the sort is the visitor's own wish and is done at once.
 * @param {Map<string, Expert> | null} experts
 * @param {string} sort
 * @param {{ current: HTMLElement | null }} grid
 * @returns {string[]}
 */
export function useOrder(experts, sort, grid) {
  const calm = useCalm(grid);
  const shown = useRef({ sort: "", names: /** @type {string[]} */ ([]) });
  return useMemo(() => {
    if (!experts) return [];
    const wanted = orderOf(experts.values(), sort);
    const mayMove = calm || shown.current.sort !== sort;
    const names = mayMove ? wanted : keepOrder(shown.current.names, wanted);
    shown.current = { sort, names };
    return names;
  }, [experts, sort, calm]);
}
