// The icons at the picture's left edge: camera and microphone, ways into a session and its switches.

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { perMinute } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { toast } from "../ui/toast.js";
import { surchargeReason } from "./private.js";

const BUTTONS = /** @type {const} */ ([
  { component: "cam2cam", icon: "camera", testid: "cam-switch", key: "C" },
  { component: "two_way_audio", icon: "mic", testid: "mic-switch", key: "M" },
]);

/** @param {{ controller: import("./controller.js").RoomController, server: any, local: any }} props */
export function Rail({ controller, server, local }) {
  const { room, session, you } = server;
  if (you?.role === "expert") return null;
  const prices = session?.prices ?? room.expert.prices;
  const settled = session === null || ["active", "paused"].includes(session.phase);
  const reachable = session !== null || room.expert.state === "live_free";
  return html`<div class="rail" role="group" aria-label=${t("room.rail")}>
    ${BUTTONS.map(({ component, icon, testid, key }) => {
      const on = controller.isOn(component);
      const reason = surchargeReason(room.expert, component);
      const label = t(`room.${component}.${on ? "off" : "on"}`);
      const price = t("room.surcharge_short", { amount: perMinute(prices[component]) });
      const off = reason !== "" || !reachable;
      return html`<button
        key=${component}
        type="button"
        class=${`rail-button ${on ? "rail-on" : ""}`}
        aria-pressed=${session === null ? undefined : on}
        aria-label=${`${label}, ${reason || price}`}
        aria-disabled=${off ? "true" : undefined}
        title=${reason || `${label} (${key})`}
        disabled=${local.busy || !settled}
        onClick=${() => {
          if (reason !== "") toast(reason);
          else if (reachable) void controller.toggle(component);
        }}
        data-testid=${testid}
      >
        <${Icon} name=${session !== null && !on ? `${icon}-off` : icon} />
        <span class="rail-price numbers">${off && reason ? "–" : price}</span>
      </button>`;
    })}
  </div>`;
}
