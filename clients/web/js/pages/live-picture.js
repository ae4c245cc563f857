// What a free stream showed some seconds ago, over the card's art; only while the card is in view.

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";

/** As often as the server makes a new one. */
const REFRESH_MS = 8_000;
/** Until the first one is made: asking is what starts it. */
const FIRST_MS = 1_500;

/** Whether this visitor has asked for less data; then the art is enough. */
function savesData() {
  return matchMedia("(prefers-reduced-data: reduce)").matches;
}

/**
 * The picture's bytes, or null where there is none; the browser's cache saves what did not change.
 * @param {string} name
 * @param {AbortSignal} signal
 */
async function fetchPicture(name, signal) {
  const response = await fetch(`/api/v1/experts/${encodeURIComponent(name)}/thumbnail?none=204`, { signal });
  return response.status === 200 ? await response.blob() : null;
}

/**
 * Asks again and again until it is stopped; a lost network is only a picture that does not come.
 * @param {string} name
 * @param {(picture: Blob | null) => void} show
 */
function keepFresh(name, show) {
  const stop = new AbortController();
  let timer = 0;
  const ask = async () => {
    /** @type {Blob | null} */
    let picture = null;
    try {
      if (!document.hidden) picture = await fetchPicture(name, stop.signal);
    } catch {
      picture = null;
    }
    if (stop.signal.aborted) return;
    if (!document.hidden) show(picture);
    timer = setTimeout(ask, picture ? REFRESH_MS : FIRST_MS);
  };
  ask();
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}

/** @param {{ name: string, displayName: string }} props */
export function LivePicture({ name, displayName }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const [url, setUrl] = useState("");
  useEffect(() => {
    const element = place.current;
    if (!element || savesData()) return undefined;
    let stop = () => {};
    const watcher = new IntersectionObserver((entries) => {
      stop();
      stop = () => {};
      if (entries.at(-1)?.isIntersecting) {
        stop = keepFresh(name, (picture) => setUrl(picture ? URL.createObjectURL(picture) : ""));
      }
    });
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      stop();
    };
  }, [name]);
  // The former picture is given back once the next one is shown, or the card is gone.
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  return html`<span ref=${place} class="card-live-picture">
    ${url &&
    html`<img
      class="card-live-picture"
      data-testid="live-picture"
      src=${url}
      alt=${t("home.thumbnail", { name: displayName })}
      width="320"
      height="240"
      decoding="async"
    />`}
  </span>`;
}
