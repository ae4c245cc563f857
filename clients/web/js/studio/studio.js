// The studio: setup, live console and private session of an expert, around one picture.

import { html, render, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get, post, put } from "../api.js";
import { FiguresPanel } from "../figures/panel.js";
import { QualityButton, focusQuality } from "../figures/quality-button.js";
import { iceConfiguration } from "../ice-servers.js";
import { t, tn } from "../i18n.js";
import { Chat } from "../room/chat.js";
import { useCountdown, useKeys, useLeaveWarning, useStore, useStream, useTrackStream, useWakeLock } from "../room/hooks.js";
import { Figure, LinkLost, Paused, rateText } from "../room/hud.js";
import { ControlButton, toggleFullscreen, togglePip } from "../room/player.js";
import { SummaryDialog } from "../room/summary.js";
import { endText, problemText } from "../room/words.js";
import { circle, inPrivate } from "../state.js";
import { clock, credits, creditsText } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { Badge, EmptyState, ErrorState, Notice } from "../ui/parts.js";
import { SideTabs } from "../ui/side-tabs.js";
import { toast } from "../ui/toast.js";
import { StudioController, isOnAir } from "./controller.js";
import { RequestCard, useRingSound } from "./request.js";
import { Settings, Toggle } from "./settings.js";
import { EncoderSetup, LiveDevices, Setup } from "./setup.js";

/**
 * @param {HTMLElement} root
 * @param {import("../main.js").Context} context
 */
export async function mount(root, context) {
  if (context.me === null || context.me.role !== "expert") {
    render(html`<${ExpertsOnly} signedIn=${context.me !== null} />`, root);
    return;
  }
  document.documentElement.classList.add("in-studio");
  let studio;
  try {
    studio = await get("/studio");
  } catch (error) {
    render(html`<${ErrorState} text=${errorText(error)} onRetry=${() => location.reload()} />`, root);
    return;
  }
  const controller = new StudioController({
    wire: context.wire,
    studio,
    http: {
      studio: () => get("/studio"),
      rotateKey: () => post("/studio/stream-key"),
      change: (body) => put("/studio/settings", body),
      summary: (session) => get(`/sessions/${encodeURIComponent(session)}`),
    },
    iceConfiguration,
    onFailure: (error) => toast(problemText(error), "bad"),
    wasOnAir: takeOnAir(),
  });
  addEventListener("pagehide", () => keepOnAir(controller.local.onAir));
  controller.start();
  void context.wire.start();
  // For tests and for bug reports: what the page believes, and its connections. Changes nothing.
  /** @type {any} */ (window).parlourDebug = {
    state: () => controller.store.value,
    pcs: () => [controller.own.peer, controller.member.peer, controller.monitor.peer].filter((peer) => peer !== null),
  };
  render(html`<${StudioPage} controller=${controller} />`, root);
}

const ON_AIR_KEY = "parlour.on_air";

/** @param {boolean} onAir for the reload that may follow; another tab does not see it */
function keepOnAir(onAir) {
  if (onAir) sessionStorage.setItem(ON_AIR_KEY, "yes");
}

function takeOnAir() {
  const kept = sessionStorage.getItem(ON_AIR_KEY) === "yes";
  sessionStorage.removeItem(ON_AIR_KEY);
  return kept;
}

function ExpertsOnly({ signedIn }) {
  return html`<${EmptyState} icon="studio" title=${t("studio.experts_only")} text=${t("studio.experts_only_text")}>
    ${signedIn
      ? html`<a class="button" href="/">${t("room.to_experts")}</a>`
      : html`<a class="button button-accent" href="/sign-in?next=/studio">${t("room.sign_in")}</a>`}
  <//>`;
}

/** @param {{ controller: StudioController }} props */
function StudioPage({ controller }) {
  const { server, local } = useStore(controller.store);
  const running = inPrivate(server);
  const live = isOnAir(server) || local.onAir;
  const stage = useRef(/** @type {HTMLElement | null} */ (null));
  const preview = useTrackStream(local.own.video);
  const monitor = useStream(controller.monitor.stream);
  const member = useStream(controller.member.stream);
  const sound = useRingSound();
  useWakeLock(live);
  useLeaveWarning(local.onAir || running);
  useKeys({
    m: () => controller.toggleMute(),
    f: () => void toggleFullscreen(stage.current),
    p: () => void togglePip(member.current),
    i: () => controller.look.toggle(),
    ...(local.look.on ? { escape: () => controller.look.away() } : {}),
    "/": () => document.getElementById("chat-input")?.focus(),
  });
  if (server.closedWith !== null) {
    return html`<${EmptyState} icon="info" title=${t("studio.replaced")} text=${t("studio.replaced_text")}>
      <button type="button" class="button button-accent" onClick=${() => location.reload()}>${t("studio.bring_here")}</button>
    <//>`;
  }
  return html`<div class=${`studio ${local.look.on ? "studio-looking" : ""}`} data-testid="studio" data-live=${live} data-phase=${server.session?.phase ?? "none"}>
    <h1 class="visually-hidden">${t("studio.title")}</h1>
    <${Stage}
      controller=${controller}
      server=${server}
      local=${local}
      live=${live}
      refs=${{ stage, preview, monitor, member }}
      sound=${sound}
    />
    <${Bar} controller=${controller} server=${server} local=${local} live=${live} />
    <${Side} controller=${controller} server=${server} local=${local} live=${live} preview=${preview} sound=${sound} />
    ${server.summary !== null &&
    html`<${SummaryDialog} summary=${server.summary} asExpert onClose=${() => controller.dismiss("summary")} />`}
  </div>`;
}

/** All pictures are always there; which one is large is a matter of class names. */
function Stage({ controller, server, local, live, refs, sound }) {
  const { session, hud } = server;
  const running = inPrivate(server);
  const seesMember = running && session.cam2cam;
  const encoder = local.source === "encoder";
  const ownOn = encoder ? isOnAir(server) : local.own.video !== null;
  return html`<section class=${`stage studio-stage ${seesMember ? "stage-member" : ""} ${running ? "stage-running" : ""}`} ref=${refs.stage} aria-label=${t("studio.picture")}>
    <video ref=${refs.member} class="member-video" autoplay playsinline data-testid="member-video"></video>
    <video ref=${refs.preview} class="own-video own-mirrored" muted autoplay playsinline hidden=${encoder} data-testid="preview-video"></video>
    <video ref=${refs.monitor} class="own-video" muted autoplay playsinline hidden=${!encoder} data-testid="monitor-video"></video>
    ${!ownOn && !seesMember && html`<div class="studio-empty"><${Icon} name=${encoder ? "studio" : "camera-off"} size=${32} /><p class="muted">${t(encoder ? "studio.encoder_no_picture" : "studio.no_picture")}</p></div>`}
    <div class="stage-top">
      <div class="stage-badges">
        ${running
          ? html`<${Badge} kind="accent"><${Icon} name="lock" size=${14} />${t("studio.with", { member: session.member })}<//>`
          : isOnAir(server)
            ? html`<span class="badge badge-live" data-testid="on-air"><span class="live-dot" aria-hidden="true"></span>${t("room.badge.live")}</span>`
            : html`<${Badge}>${t(local.onAir ? "studio.going_live" : "room.badge.offline")}<//>`}
        ${isOnAir(server) &&
        !running &&
        html`<span class="badge" data-testid="viewers"><${Icon} name="eye" size=${14} /><span aria-hidden="true">${server.room.expert.viewers}</span><span class="visually-hidden">${tn("room.viewers", server.room.expert.viewers)}</span></span>`}
        ${live && html`<${QualityButton} server=${server} name=${session?.member ?? ""} open=${local.look.on} onToggle=${() => controller.look.toggle()} />`}
      </div>
      <div class="stage-badges">
        ${local.own.audio !== null &&
        html`<${ControlButton}
          icon=${local.own.muted ? "mic-off" : "mic"}
          label=${t(local.own.muted ? "studio.unmute" : "studio.mute")}
          pressed=${local.own.muted}
          onClick=${() => controller.toggleMute()}
          testid="mute-mic"
        />`}
        <${ControlButton} icon="fullscreen" label=${t("room.fullscreen")} onClick=${() => void toggleFullscreen(refs.stage.current)} />
      </div>
    </div>
    <div class="stage-banners">
      <${LinkLost} lost=${server.link === "offline"} />
      ${server.drainingS !== null && html`<${Notice} kind="warn">${t("room.draining")}<//>`}
      ${session?.phase === "paused" && html`<${Paused} session=${session} hud=${hud} asExpert />`}
      ${running && server.lowBalanceS !== null && html`<${MemberLow} secondsLeft=${server.lowBalanceS} cause=${server.lowCause} />`}
      ${running && session.phase === "connecting" && html`<div class="banner" role="status"><span class="spinner" aria-hidden="true"></span><p class="banner-text">${t("studio.connecting", { member: session.member })}</p></div>`}
      ${server.unstarted && html`<${Missed} controller=${controller} unstarted=${server.unstarted} />`}
    </div>
    ${local.look.on && html`<${Figures} controller=${controller} server=${server} local=${local} />`}
    ${server.incoming !== null &&
    html`<${RequestCard}
      key=${server.incoming.session.session}
      incoming=${server.incoming}
      sound=${sound.on}
      busy=${local.busy}
      onAccept=${() => void controller.accept()}
      onDecline=${() => void controller.decline()}
    />`}
  </section>`;
}

function Figures({ controller, server, local }) {
  const titleOf = (/** @type {string} */ feed, /** @type {string} */ direction) => {
    if (feed === "private") return t("figures.title.watch", { name: server.session?.member ?? "" });
    return t(`figures.title.stream.${direction}`);
  };
  return html`<${FiguresPanel}
    figures=${server.figures}
    seen=${local.look.seen}
    titleOf=${titleOf}
    onClose=${() => {
      controller.look.away();
      focusQuality();
    }}
  />`;
}

function MemberLow({ secondsLeft, cause }) {
  const key = cause === "balance_empty" ? "studio.member_low" : "studio.member_limit";
  return html`<div class="banner banner-warn" data-testid="member-low">
    <${Icon} name="alert" />
    <p class="banner-text" role="status">${t(key, { time: clock(secondsLeft * 1000) })}</p>
  </div>`;
}

/** A request that came to nothing; it goes away by itself. */
function Missed({ controller, unstarted }) {
  const { session, reason } = unstarted;
  const left = useCountdown(8_000, session.session);
  useEffect(() => {
    if (left === 0) controller.dismiss("unstarted");
  }, [left]);
  return html`<div class="banner" role="status" data-testid="unstarted" data-reason=${reason}>
    <${Icon} name="info" />
    <p class="banner-text">${endText(reason, { expert: session.expert, member: session.member }, true)}</p>
    <button type="button" class="icon-button" aria-label=${t("action.dismiss")} onClick=${() => controller.dismiss("unstarted")}><${Icon} name="close" size=${16} /></button>
  </div>`;
}

function Bar({ controller, server, local, live }) {
  const { session, hud } = server;
  if (inPrivate(server) && session.phase !== "connecting") {
    return html`<div class="room-bar">
      <div class="hud" data-testid="hud" data-session=${hud?.session}>
        <div class=${`hud-timer numbers ${hud?.paused ? "hud-paused" : ""}`} role="timer" aria-live="off">
          <span class="visually-hidden">${t("room.hud.time")}</span>
          <span data-testid="hud-timer" data-ms=${hud?.held_ms ?? 0}>${clock(hud?.held_ms ?? 0)}</span>
        </div>
        <${Figure} label=${t("room.hud.rate")} value=${hud ? t("money.per_min", { amount: rateText(hud) }) : "–"} testid="hud-rate" units=${hud?.rate_units_per_s} />
        <${Figure} label=${t("studio.hud.paid")} value=${hud ? credits(hud.cost_units) : "–"} testid="hud-cost" units=${hud?.cost_units} />
        <${Figure} label=${t("room.hud.earned")} value=${hud?.earned_units == null ? "–" : credits(hud.earned_units)} testid="hud-earned" units=${hud?.earned_units ?? undefined} />
      </div>
      <button type="button" class="button button-bad button-large end-button" onClick=${() => void controller.end()} data-testid="end-session">
        <${Icon} name="end-call" />${t("room.end_session")}
      </button>
    </div>`;
  }
  const { figures } = local;
  return html`<div class="room-bar">
    <div class="hud">
      <${Figure} label=${t("studio.today")} value=${creditsText(local.studio.earned_units_today)} testid="earned-today" />
      ${live && figures &&
      html`<${Figure} class="figure-sent" label=${t("studio.sent")} value=${figures.bitsPerS === null ? "–" : `${Math.round(figures.bitsPerS / 1000)} kbit/s`} testid="sent-bitrate" />
        <${Figure} class="figure-sent" label=${t("room.figure.fps")} value=${figures.fps === null ? "–" : String(Math.round(figures.fps))} testid="sent-fps" />
        ${figures.rttMs !== null && html`<${Figure} class="figure-sent" label=${t("room.figure.delay")} value=${`${figures.rttMs} ms`} testid="sent-rtt" />`}
        ${figures.lossPercent !== null && html`<${Figure} class="figure-sent" label=${t("room.figure.loss")} value=${`${figures.lossPercent.toFixed(1)} %`} testid="sent-loss" />`}`}
    </div>
    ${live
      ? html`<button type="button" class="button button-outline" disabled=${local.busy} onClick=${() => void controller.goOffline()} data-testid="go-offline">${t("studio.go_offline")}</button>`
      : null}
  </div>`;
}

function Side({ controller, server, local, live, preview, sound }) {
  const running = inPrivate(server);
  const first = live ? "chat" : "setup";
  const [chosen, setChosen] = useState("");
  useEffect(() => setChosen(""), [live]);
  const tabs = [first, "prices", ...(live && local.source === "encoder" ? ["encoder"] : []), ...(live && local.source === "browser" ? ["devices"] : [])];
  const tab = tabs.includes(chosen) ? chosen : first;
  return html`<aside class="side studio-side" aria-label=${t("studio.desk")}>
    <${SideTabs}
      tabs=${tabs.map((id) => [id, t(`studio.tab.${id}`)])}
      chosen=${tab}
      label=${t("studio.desk")}
      onChoose=${setChosen}
    />
    <div class=${`side-panel ${tab === "chat" ? "" : "side-scroll"}`} id="side-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${tab === "setup" && html`<${Setup} controller=${controller} server=${server} local=${local} preview=${preview} />`}
      ${tab === "chat" &&
      html`<${Chat}
          lines=${server.chat}
          presets=${[]}
          canType
          ownName=${server.you?.name ?? ""}
          online=${server.link === "online"}
          circle=${circle(server)}
          onSay=${(/** @type {string} */ text, /** @type {string | null} */ session) => controller.say(text, session)}
          onPreset=${async () => false}
        />
        <div class="ring-toggle"><${Toggle} label=${t("studio.ring_sound")} on=${sound.on} onChange=${sound.set} testid="ring-sound" /></div>`}
      ${tab === "prices" && html`<${Settings} controller=${controller} local=${local} locked=${running || server.incoming !== null} />`}
      ${tab === "encoder" && html`<div class="setup"><${EncoderSetup} controller=${controller} server=${server} local=${local} live /></div>`}
      ${tab === "devices" && html`<div class="setup"><${LiveDevices} controller=${controller} local=${local} /></div>`}
    </div>
  </aside>`;
}
