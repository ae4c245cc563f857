// What stands where no picture is: offline, in private with another, loading, a full server, a
// request that failed.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Icon } from "../ui/icons.js";
import { Art, Spinner } from "../ui/parts.js";
import { endText } from "./words.js";

/** Covers the player completely; the video below is never taken away, so nothing jumps. */
export function Wall({ room, watching, playing, full }) {
  if (room === null) {
    return html`<div class="wall" data-testid="wall" data-wall="loading"><${Spinner} /></div>`;
  }
  const { expert } = room;
  const wall = room.wall === "none" && full ? "full" : room.wall;
  if (wall === "none") {
    if (playing) return watching === "down" ? html`<div class="wall-hint"><${Spinner} label=${t("room.media_lost")} /></div>` : null;
    return html`<div class="wall" data-testid="wall" data-wall="loading"><${Spinner} label=${t("room.loading")} /></div>`;
  }
  return html`<div class="wall" data-testid="wall" data-wall=${wall}>
    <${Art} name=${expert.name} class="wall-art" />
    <div class="wall-text">
      <${Icon} name=${{ private: "lock", full: "users" }[/** @type {string} */ (wall)] ?? "clock"} size=${28} />
      <p class="wall-title" role="status">${t(`room.wall.${wall}.title`, { name: expert.display_name })}</p>
      <p class="muted">${t(`room.wall.${wall}.text`)}</p>
      ${wall === "offline" && html`<a class="button" href="/">${t("room.to_experts")}</a>`}
    </div>
  </div>`;
}

/** A request that came to nothing, and that nothing was charged for it. */
export function Unstarted({ controller, server }) {
  const { session, reason } = server.unstarted;
  const names = { expert: server.room?.expert.display_name ?? session.expert, member: session.member };
  return html`<div class="stage-panel" role="alert" data-testid="unstarted" data-reason=${reason}>
    <p class="stage-panel-title">${endText(reason, names, false)}</p>
    <p class="small muted">${t("room.nothing_charged")}</p>
    <button type="button" class="button" onClick=${() => controller.dismiss("unstarted")} data-testid="unstarted-close">
      ${t("action.close")}
    </button>
  </div>`;
}
