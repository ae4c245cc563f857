// The room page: wires the controller to what is seen.

import { html, render, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { get } from "../api.js";
import { iceConfiguration } from "../ice-servers.js";
import { watchingSupported } from "../devices.js";
import { FiguresPanel } from "../figures/panel.js";
import { QualityButton, focusQuality } from "../figures/quality-button.js";
import { t, tn } from "../i18n.js";
import { circle, inPrivate } from "../state.js";
import { languageName, perMinute } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { Badge, EmptyState, Notice } from "../ui/parts.js";
import { SideTabs } from "../ui/side-tabs.js";
import { toast } from "../ui/toast.js";
import { Chat } from "./chat.js";
import { RoomController } from "./controller.js";
import { useDrawnSize, useKeys, useLeaveWarning, useStore, useTrackStream, useWakeLock } from "./hooks.js";
import { HudFigures, LinkLost, LowBalance, Paused, SelfView } from "./hud.js";
import { PlayerControls, toggleFullscreen, usePlayer } from "./player.js";
import { InviteDialog, StartDialog, SwitchDialog, Waiting, minutesFor } from "./private.js";
import { Rail } from "./rail.js";
import { SummaryDialog } from "./summary.js";
import { Unstarted, Wall } from "./wall.js";
import { problemText } from "./words.js";

/**
 * @param {HTMLElement} root
 * @param {import("../main.js").Context} context
 * @returns {import("../main.js").Mounted}
 */
export function mount(root, context) {
  document.documentElement.classList.add("in-room");
  const clear = () => {
    render(null, root);
    document.documentElement.classList.remove("in-room");
  };
  if (!watchingSupported()) {
    render(html`<${EmptyState} icon="alert" title=${t("room.unsupported_title")} text=${t("room.unsupported")} />`, root);
    return { leave: clear };
  }
  if (context.me?.role === "expert" && context.me.name === context.expert) {
    render(html`<${OwnRoom} />`, root);
    return { leave: clear };
  }
  const controller = new RoomController({
    wire: context.wire,
    expert: context.expert,
    iceConfiguration,
    fetchSummary: (session) => get(`/sessions/${encodeURIComponent(session)}`),
    onFailure: (error) => toast(problemText(error), "bad"),
  });
  controller.start();
  void context.wire.start();
  // For tests and for bug reports: what the page believes, and its connections. Changes nothing.
  /** @type {any} */ (window).parlourDebug = {
    state: () => controller.store.value,
    pcs: () => [controller.watcher.peer, controller.own.peer].filter((peer) => peer !== null),
  };
  render(html`<${RoomPage} controller=${controller} onClosed=${() => context.go("/")} />`, root);
  return {
    leave() {
      void controller.leave();
      delete (/** @type {any} */ (window).parlourDebug);
      clear();
    },
    holds: () => inPrivate(controller.server),
  };
}

function OwnRoom() {
  return html`<${EmptyState} icon="studio" title=${t("room.own_title")} text=${t("room.own_text")}>
    <a class="button button-accent" href="/studio">${t("room.own_link")}</a>
  <//>`;
}

/** @param {{ controller: RoomController, onClosed: () => void }} props */
function RoomPage({ controller, onClosed }) {
  const { server, local } = useStore(controller.store);
  if (local.missing) {
    return html`<${EmptyState} icon="user" title=${t("room.missing_title")} text=${t("room.missing")}>
      <a class="button" href="/">${t("room.to_experts")}</a>
    <//>`;
  }
  const away = server.roomLeft ?? (server.closedWith === null ? null : "replaced");
  if (away !== null && away !== "left") {
    return html`<${EmptyState} icon="info" title=${t(`room.away.${away}.title`)} text=${t(`room.away.${away}.text`)}>
      <button type="button" class="button button-accent" onClick=${() => location.reload()}>${t("room.away.back")}</button>
    <//>`;
  }
  return html`<${Room} controller=${controller} server=${server} local=${local} onClosed=${onClosed} />`;
}

/** @param {{ controller: RoomController, server: import("../state.js").State, local: any, onClosed: () => void }} props */
function Room({ controller, server, local, onClosed }) {
  const { room, session, hud } = server;
  const running = inPrivate(server);
  const active = running && session?.phase !== "connecting";
  const stage = useRef(/** @type {HTMLElement | null} */ (null));
  const player = usePlayer(controller.watcher.stream, session !== null);
  useDrawnSize(player.ref, (width, height) => controller.viewport(width, height));
  const selfRef = useTrackStream(local.own.video);
  const [chatHidden, setChatHidden] = useState(false);
  useWakeLock(running);
  useLeaveWarning(running);
  const name = room?.expert.display_name;
  useEffect(() => {
    if (name) document.title = `${name} · Parlour`;
  }, [name]);
  const fullscreen = () => void toggleFullscreen(stage.current);
  useKeys({
    m: () => void controller.toggle("two_way_audio"),
    c: () => void controller.toggle("cam2cam"),
    f: fullscreen,
    p: () => void player.togglePip(),
    i: () => controller.look.toggle(),
    ...(local.look.on ? { escape: () => controller.look.away() } : {}),
    "/": () => focusChat(() => setChatHidden(false)),
  });
  const leave = async () => {
    await controller.leave();
    onClosed();
  };
  const wall = room?.wall ?? "none";
  const classes = `room ${active ? "room-private" : ""} ${chatHidden ? "room-chat-hidden" : ""} ${local.look.on ? "room-looking" : ""}`;
  return html`<div class=${classes} data-testid="room" data-phase=${session?.phase ?? "none"} data-wall=${room === null ? "" : wall}>
    <section class="stage" ref=${stage} aria-label=${t("room.picture_of", { name: name ?? controller.expert })}>
      <video
        ref=${player.ref}
        class="stage-video"
        muted
        autoplay
        playsinline
        disableremoteplayback
        onClick=${() => setChatHidden(!chatHidden)}
        data-testid="player-video"
      ></video>
      <${Wall} room=${room} watching=${local.watching} playing=${player.playing} full=${local.full} />
      <div class="stage-top">
        <${StageBadges} controller=${controller} server=${server} local=${local} active=${active} />
        <button type="button" class="icon-button stage-button" aria-label=${t("room.close")} title=${t("room.close")} onClick=${leave} data-testid="close-room">
          <${Icon} name="close" />
        </button>
      </div>
      ${room && wall === "none" && player.muted && room.expert.has_sound && player.playing &&
      html`<button type="button" class="button tap-for-sound" onClick=${() => player.setMuted(false)} data-testid="tap-for-sound">
        <${Icon} name="volume-off" />${t("room.tap_for_sound")}
      </button>`}
      ${room && wall === "none" && (session === null || active) && html`<${Rail} controller=${controller} server=${server} local=${local} />`}
      <${SelfView}
        videoRef=${selfRef}
        on=${local.own.video !== null}
        onFlip=${"ontouchstart" in window ? () => void controller.flip() : null}
      />
      <div class="stage-banners">
        <${LinkLost} lost=${server.link === "offline"} />
        ${server.drainingS !== null && html`<${Notice} kind="warn">${t("room.draining")}<//>`}
        ${session?.phase === "paused" && html`<${Paused} session=${session} hud=${hud} />`}
        ${server.lowBalanceS !== null &&
        html`<${LowBalance} secondsLeft=${server.lowBalanceS} cause=${server.lowCause} onDismiss=${() => controller.dismiss("lowBalance")} />`}
      </div>
      ${room && session !== null && !active && html`<${Waiting} controller=${controller} server=${server} />`}
      ${server.unstarted && html`<${Unstarted} controller=${controller} server=${server} />`}
      ${wall === "none" && html`<${PlayerControls} player=${player} hasSound=${room?.expert.has_sound ?? true} onFullscreen=${fullscreen} />`}
      ${local.look.on && html`<${Figures} controller=${controller} server=${server} local=${local} />`}
    </section>
    <div class="room-bar">
      ${active
        ? html`<h1 class="visually-hidden">${t("room.picture_of", { name: name ?? "" })}</h1>
            <${HudFigures} hud=${hud} low=${server.lowBalanceS !== null} />
            <button type="button" class="button button-bad button-large end-button" onClick=${() => void controller.end()} data-testid="end-session">
              <${Icon} name="end-call" />${t("room.end_session")}
            </button>`
        : html`<${Identity} room=${room} known=${controller.expert} /><${StartButton} controller=${controller} server=${server} />`}
    </div>
    <${Side} controller=${controller} server=${server} onHide=${() => setChatHidden(true)} />
    <${Dialogs} controller=${controller} server=${server} local=${local} />
  </div>`;
}

/** @param {() => void} show the chat may be swiped away */
function focusChat(show) {
  show();
  const focus = () => document.getElementById("chat-input")?.focus();
  // At once, for those who type on; and again for a chat that has to come into sight first.
  focus();
  requestAnimationFrame(focus);
}

/** @param {{ controller: RoomController, server: any, local: any }} props */
function Figures({ controller, server, local }) {
  const name = server.room?.expert.display_name ?? controller.expert;
  return html`<${FiguresPanel}
    figures=${server.figures}
    seen=${local.look.seen}
    titleOf=${(/** @type {string} */ _feed, /** @type {string} */ direction) => t(`figures.title.${direction}`, { name })}
    onClose=${() => {
      controller.look.away();
      focusQuality();
    }}
  />`;
}

/** @param {{ controller: RoomController, server: any, local: any, active: boolean }} props */
function StageBadges({ controller, server, local, active }) {
  const { room } = server;
  if (room === null) return html`<div class="stage-badges"></div>`;
  const live = room.wall === "none" && room.expert.state !== "offline";
  return html`<div class="stage-badges">
    ${active
      ? html`<${Badge} kind="accent"><${Icon} name="lock" size=${14} />${t("room.badge.private")}<//>`
      : live
        ? html`<span class="badge badge-live badge-on-air" data-testid="live-badge"><span class="live-dot" aria-hidden="true"></span>${t("room.badge.live")}</span>`
        : html`<${Badge}>${t(room.wall === "private" ? "room.badge.in_private" : "room.badge.offline")}<//>`}
    ${!active &&
    html`<span class="badge badge-viewers" data-testid="viewers" title=${tn("room.viewers", room.expert.viewers)}>
      <${Icon} name="eye" size=${14} /><span aria-hidden="true">${room.expert.viewers}</span>
      <span class="visually-hidden">${tn("room.viewers", room.expert.viewers)}</span>
    </span>`}
    ${room.wall === "none" && live &&
    html`<${QualityButton} server=${server} name=${room.expert.display_name} open=${local.look.on} onToggle=${() => controller.look.toggle()} />`}
    <span class="stage-name">${room.expert.display_name}</span>
  </div>`;
}

/** Until the room is there its heading says what the address says, to those who cannot see that it waits. */
function Identity({ room, known }) {
  if (room === null) {
    return html`<div class="identity">
      <h1><span class="visually-hidden">${known}</span><span class="skeleton-text" aria-hidden="true"></span></h1>
    </div>`;
  }
  const { expert } = room;
  return html`<div class="identity">
    <h1>${expert.display_name}</h1>
    <p class="muted small">${[expert.headline, expert.languages.map(languageName).join(", ")].filter(Boolean).join(" · ")}</p>
  </div>`;
}

/** @param {{ controller: RoomController, server: any }} props */
function StartButton({ controller, server }) {
  const { room, you, balance, session } = server;
  if (room === null || you?.role === "expert") return null;
  const { prices, state } = room.expert;
  const minutes = balance === null ? null : minutesFor(balance.available_units, prices.private);
  const can = state === "live_free" && session === null && server.link === "online";
  const hint = !can
    ? t(session !== null ? "room.hint.requested" : state === "offline" ? "room.hint.offline" : "room.hint.busy")
    : minutes !== null
      ? tn("room.hint.minutes", minutes)
      : t("room.hint.fair");
  return html`<div class="start">
    <span class="small muted start-hint" id="start-hint">${hint}</span>
    <button
      type="button"
      class="button button-accent button-large"
      disabled=${!can}
      aria-describedby="start-hint"
      onClick=${() => controller.askPrivate()}
      data-testid="start-private"
    >
      ${t("room.start_private", { price: perMinute(prices.private) })}
    </button>
  </div>`;
}

/** @param {{ controller: RoomController, server: any, onHide: () => void }} props */
function Side({ controller, server, onHide }) {
  const [tab, setTab] = useState("chat");
  const { room, you, chat, link } = server;
  const swipe = useRef({ x: 0, y: 0 });
  const tabs = [
    ["chat", t("room.chat")],
    ["about", t("room.about")],
  ];
  return html`<aside
    class="side"
    aria-label=${t("room.chat")}
    onTouchStart=${(/** @type {TouchEvent} */ e) => {
      swipe.current = { x: e.touches[0].clientX, y: e.touches[0].clientY };
    }}
    onTouchEnd=${(/** @type {TouchEvent} */ e) => {
      const dx = e.changedTouches[0].clientX - swipe.current.x;
      const dy = e.changedTouches[0].clientY - swipe.current.y;
      if (Math.abs(dx) > 80 && Math.abs(dy) < 60) onHide();
    }}
  >
    <${SideTabs} tabs=${tabs} chosen=${tab} label=${t("room.side")} onChoose=${setTab} />
    <div class="side-panel" id="side-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${tab === "chat"
        ? html`<${Chat}
            lines=${chat}
            presets=${room?.presets ?? []}
            canType=${you !== null && you.role !== "guest"}
            ownName=${you?.role === "guest" ? "" : (you?.name ?? "")}
            online=${link === "online"}
            circle=${circle(server)}
            onSay=${(/** @type {string} */ text, /** @type {string | null} */ session) => controller.say(text, session)}
            onPreset=${(/** @type {string} */ id) => controller.sayPreset(id)}
          />`
        : html`<${About} room=${room} />`}
    </div>
  </aside>`;
}

function About({ room }) {
  if (room === null) return null;
  const { expert, about } = room;
  return html`<div class="about">
    <h2>${expert.display_name}</h2>
    ${expert.headline && html`<p class="muted">${expert.headline}</p>`}
    <p class="about-text">${about || t("room.about_empty")}</p>
    <dl class="about-facts">
      <div><dt class="muted small">${t("room.languages")}</dt><dd>${expert.languages.map(languageName).join(", ") || "–"}</dd></div>
      ${["private", "cam2cam", "two_way_audio"].map(
        (/** @type {string} */ component) =>
          (component === "private" || expert[component]) &&
          html`<div key=${component}>
            <dt class="muted small">${t(`room.component.${component}`)}</dt>
            <dd class="numbers">${component === "private" ? "" : "+"}${t("money.per_min", { amount: perMinute(expert.prices[component]) })}</dd>
          </div>`,
      )}
    </dl>
  </div>`;
}

/** @param {{ controller: RoomController, server: any, local: any }} props */
function Dialogs({ controller, server, local }) {
  const { dialog } = local;
  const close = () => controller.closeDialog();
  if (server.summary !== null) {
    return html`<${SummaryDialog}
      summary=${{ ...server.summary, expert: server.room?.expert.display_name ?? server.summary.expert }}
      asExpert=${false}
      onClose=${() => controller.dismiss("summary")}
    />`;
  }
  if (dialog === null || server.room === null) return null;
  switch (dialog.kind) {
    case "start":
      return html`<${StartDialog} controller=${controller} server=${server} local=${local} />`;
    case "switch":
      if (server.session === null) return null;
      return html`<${SwitchDialog} controller=${controller} server=${server} local=${local} />`;
    default:
      return html`<${InviteDialog} kind=${dialog.kind} expert=${server.room.expert} onClose=${close} />`;
  }
}
