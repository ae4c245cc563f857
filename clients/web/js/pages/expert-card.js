// One expert in the grid.

import { html } from "../../vendor/preact-htm.js";
import { watchingSupported } from "../devices.js";
import { has, t, tn } from "../i18n.js";
import { iceConfiguration } from "../ice-servers.js";
import { expectToWatch } from "../rtc.js";
import { languageName } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { LivePicture } from "./live-picture.js";
import { Art, isLive, PresenceDot, Price } from "../ui/parts.js";

/** @param {string} category as the server names it */
export function categoryName(category) {
  const key = `category.${category}`;
  if (has(key)) return t(key);
  const words = category.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {{ expert: import("./grid.js").Expert }} props */
function Extras({ expert }) {
  const extras = [
    ...(expert.cam2cam ? [["camera", t("home.cam2cam")]] : []),
    ...(expert.two_way_audio ? [["mic", t("home.two_way_audio")]] : []),
  ];
  if (extras.length === 0) return null;
  return html`<span class="card-extras">
    ${extras.map(
      ([icon, text]) => html`<span key=${icon} title=${text}><${Icon} name=${icon} size=${18} label=${text} /></span>`,
    )}
  </span>`;
}

/** Somebody points at a card: the next thing may be a click. */
function pointedAt() {
  if (watchingSupported()) expectToWatch(iceConfiguration);
}

/** The states in which everybody may see the stream; in any other there is no picture of it. */
const FREE = new Set(["live_free", "ringing"]);

/** @param {{ expert: import("./grid.js").Expert }} props */
export function ExpertCard({ expert }) {
  const live = isLive(expert.state);
  const skills = expert.categories.map(categoryName).join(" · ");
  const languages = expert.languages.map(languageName).join(", ");
  return html`<article
    class=${`card ${live ? "" : "card-offline"}`}
    data-testid="expert-card"
    data-expert=${expert.name}
    data-state=${expert.state}
    onPointerEnter=${live ? pointedAt : undefined}
    onFocusIn=${live ? pointedAt : undefined}
  >
    <div class="card-picture">
      <${Art} name=${expert.name} />
      ${FREE.has(expert.state) && html`<${LivePicture} name=${expert.name} displayName=${expert.display_name} />`}
      <div class="card-picture-foot">
        <div class="card-picture-line">
          <span class="card-presence"><${PresenceDot} state=${expert.state} /></span>
          ${live &&
          expert.viewers > 0 &&
          html`<span class="card-viewers" title=${tn("home.viewers", expert.viewers)}>
            <${Icon} name="eye" size=${15} /><span aria-hidden="true">${expert.viewers}</span>
            <span class="visually-hidden">${tn("home.viewers", expert.viewers)}</span>
          </span>`}
        </div>
        ${expert.notice && html`<p class="card-notice" data-testid="card-notice">${t(`notice.${expert.notice}`)}</p>`}
      </div>
    </div>
    <div class="card-text">
      <div class="card-title">
        <h2><a class="card-link" href=${`/room/${encodeURIComponent(expert.name)}`}>${expert.display_name}</a></h2>
        <${Price} unitsPerS=${expert.prices.private} />
      </div>
      ${expert.headline && html`<p class="card-headline">${expert.headline}</p>`}
      <div class="card-foot">
        <p class="card-skills">
          <span>${skills}</span>${languages && html`<span class="card-languages">${languages}</span>`}
        </p>
        <${Extras} expert=${expert} />
      </div>
    </div>
  </article>`;
}

/** The place of a card before it is known, of the same height. */
export function CardSkeleton() {
  return html`<div class="card" aria-hidden="true">
    <div class="card-picture skeleton"></div>
    <div class="card-text">
      <div class="card-title"><span class="skeleton-text"></span></div>
      <p class="card-headline"><span class="skeleton-text skeleton-wide"></span></p>
      <div class="card-foot"><span class="skeleton-text"></span></div>
    </div>
  </div>`;
}
