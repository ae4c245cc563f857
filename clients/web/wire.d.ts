// Generated from signaling/wire.py by `python -m signaling.wire_types`. Do not edit.

export type Language = "en" | "nb";
export type Feed = "stream" | "private";
export type Surcharge = "cam2cam" | "two_way_audio";
export type ComponentName = "private" | "cam2cam" | "two_way_audio";
export type Role = "guest" | "member" | "expert" | "system";
export type PresenceState = "offline" | "live_free" | "ringing" | "entering_private" | "in_private" | "group_pre" | "group_live" | "going_offline";
export type Phase = "ringing" | "connecting" | "active" | "paused" | "ending" | "ended";
export type EndReason = "member_left" | "expert_left" | "balance_empty" | "limit_session" | "limit_day" | "limit_week" | "limit_month" | "on_break" | "media_lost" | "connect_failed" | "declined" | "ring_timeout" | "cancelled" | "server_stopped" | "ledger_unavailable" | "suspended";
export type QualityLevel = "good" | "fair" | "poor" | "unknown";
export type Direction = "publish" | "watch";
export type MediaKind = "audio" | "video";
export type Transport = "udp" | "tcp";
export type WalletPart = "auto_reload" | "limits" | "refunds";

/**
 * One connection of this visitor. `silent_ms` since the server heard from it.
 *
 * `estimate_bps` is what the way carries as far as the receiving browser can tell, or what the
 * server allows a publisher to send. A relay looks like `udp` to the server.
 */
export interface ConnectionFigures {
  feed: Feed;
  direction: Direction;
  level: QualityLevel;
  reason: string;
  transport: Transport;
  round_trip_us: number | null;
  estimate_bps: number | null;
  silent_ms: number | null;
  streams: Array<StreamFigures>;
}

/**
 * One stream of a connection, by the server's own counters; sums since the connection began.
 *
 * `lost_permille` and `jitter_us` are of the last report; `asked_again` packets that the receiving
 * side missed, `repaired` those that came all the same; `keyframes_asked` by the receiving side;
 * `layer` is the simulcast layer. Null is not known.
 */
export interface StreamFigures {
  kind: MediaKind;
  codec: string | null;
  layer: string | null;
  width: number | null;
  height: number | null;
  bitrate_bps: number | null;
  packets: number;
  lost_permille: number | null;
  jitter_us: number | null;
  asked_again: number;
  repaired: number;
  keyframes_asked: number;
}

/** `n` grows by one per room; `role` and `rank` are the server's word. */
export interface ChatLine {
  n: number;
  at_ms: number;
  name: string;
  role: Role;
  rank: string;
  text: string;
  preset: string | null;
}

/** One component of a session: whole charged seconds and their units. */
export interface CostLine {
  component: ComponentName;
  on: boolean;
  rate_units_per_s: number;
  seconds: number;
  units: number;
}

/** What the home grid shows of one expert. */
export interface ExpertCard {
  name: string;
  display_name: string;
  headline: string;
  categories: Array<string>;
  languages: Array<string>;
  state: PresenceState;
  notice: "entering_private" | "in_private" | "going_offline" | null;
  has_sound: boolean;
  cam2cam: boolean;
  two_way_audio: boolean;
  prices: Prices;
  viewers: number;
}

/** A message that a guest may choose, in the client's language. */
export interface Preset {
  id: string;
  text: string;
}

/** Units per second; hundredths of a credit per minute are the same number. */
export interface Prices {
  private: number;
  cam2cam: number;
  two_way_audio: number;
}

/**
 * A private session as its two people may see it.
 *
 * `cam2cam` and `two_way_audio` tell whether the switch is on and funded; the `_possible`
 * pair whether this expert offers it. Money fields are in the HUD.
 */
export interface SessionView {
  session: string;
  phase: Phase;
  expert: string;
  member: string;
  prices: Prices;
  cam2cam: boolean;
  two_way_audio: boolean;
  cam2cam_possible: boolean;
  two_way_audio_possible: boolean;
  ring_ms_left: number;
  grace_ms_left: number;
  reason: EndReason | null;
}

/** Who the server says the client is. */
export interface You {
  role: Role;
  name: string;
  premium: boolean;
  rank: string;
  language: Language;
  locked: Array<"albums" | "emoji" | "likes" | "translator">;
}

/** `available` is what can be spent now: paid + promo − held. */
export interface Balance {
  paid_units: number;
  promo_units: number;
  held_units: number;
  available_units: number;
}

/** First message of a connection, within 10 s; the ticket is from `POST /api/v1/ws-ticket`. */
export interface Hello {
  type: "hello";
  ticket: string;
  resume?: string | null;
  language?: Language;
  id?: number | null;
}

/** Ask for the list of experts now and every change of it from now on. */
export interface PresenceSubscribe {
  type: "presence.subscribe";
  id?: number | null;
}

/** Enter an expert's room, leaving any other. The expert enters their own as its host. */
export interface RoomEnter {
  type: "room.enter";
  expert: string;
  id?: number | null;
}

/** Leave the room: media stops at once, a private session ends. */
export interface RoomLeave {
  type: "room.leave";
  id?: number | null;
}

/**
 * A typed message; members and experts only. At most 500 characters after NFC.
 *
 * With `session` it is for the two of that session, and refused as `private_over` afterwards.
 */
export interface ChatSend {
  type: "chat.send";
  text: string;
  session?: string | null;
  id?: number | null;
}

/** A guest's message, chosen from the list that `room.entered` gave. */
export interface ChatPreset {
  type: "chat.preset";
  preset: string;
  id?: number | null;
}

/** Offer to send. `stream` puts the expert on air; `private` is the member's feed. */
export interface MediaPublish {
  type: "media.publish";
  feed: Feed;
  sdp: string;
  id?: number | null;
}

/** Stop sending; for `stream` this takes the expert off air. */
export interface MediaUnpublish {
  type: "media.unpublish";
  feed: Feed;
  id?: number | null;
}

/** Offer to receive: the room's `stream`, or (expert only) the member's `private` feed. */
export interface MediaWatch {
  type: "media.watch";
  feed: Feed;
  sdp: string;
  id?: number | null;
}

/** Stop receiving. */
export interface MediaUnwatch {
  type: "media.unwatch";
  feed: Feed;
  id?: number | null;
}

/**
 * ICE restart of a peer connection that lost its way: `ufrag` and `pwd` are those of the
 * client's new local description. Tracks, codecs and DTLS stay as they were negotiated.
 */
export interface MediaRestart {
  type: "media.restart";
  feed: Feed;
  direction: Direction;
  ufrag: string;
  pwd: string;
  id?: number | null;
}

/** The size at which a feed's picture is drawn, in device pixels: no larger one is of use. */
export interface MediaViewport {
  type: "media.viewport";
  feed: Feed;
  width: number;
  height: number;
  id?: number | null;
}

/** Ask for `figures` of one's own connections, once a second, until `figures.unsubscribe`. */
export interface FiguresSubscribe {
  type: "figures.subscribe";
  id?: number | null;
}

/** No more of them. */
export interface FiguresUnsubscribe {
  type: "figures.unsubscribe";
  id?: number | null;
}

/** The expert goes off air, whether a browser or an encoder sends. */
export interface StudioGoOffline {
  type: "studio.go_offline";
  id?: number | null;
}

/**
 * Ask the room's expert for a private session; rings for 30 s.
 *
 * `accepted_units_per_s` is the total rate the member confirmed, with the chosen surcharges;
 * another rate on the server is refused with `price_changed`.
 */
export interface PrivateRequest {
  type: "private.request";
  accepted_units_per_s: number;
  cam2cam?: boolean;
  two_way_audio?: boolean;
  spend_limit_units?: number | null;
  id?: number | null;
}

/** The member takes the request back while it rings or connects. */
export interface PrivateCancel {
  type: "private.cancel";
  id?: number | null;
}

/** The expert accepts. */
export interface PrivateAccept {
  type: "private.accept";
  session: string;
  id?: number | null;
}

/** The expert declines. */
export interface PrivateDecline {
  type: "private.decline";
  session: string;
  id?: number | null;
}

/** The member switches Cam2Cam or two-way audio; `accepted_units_per_s` is its surcharge. */
export interface PrivateSwitch {
  type: "private.switch";
  component: Surcharge;
  on: boolean;
  accepted_units_per_s?: number;
  id?: number | null;
}

/** Either side ends the session, at once. */
export interface PrivateEnd {
  type: "private.end";
  id?: number | null;
}

export type ClientMessage =
  | Hello
  | PresenceSubscribe
  | RoomEnter
  | RoomLeave
  | ChatSend
  | ChatPreset
  | MediaPublish
  | MediaUnpublish
  | MediaWatch
  | MediaUnwatch
  | MediaRestart
  | MediaViewport
  | FiguresSubscribe
  | FiguresUnsubscribe
  | StudioGoOffline
  | PrivateRequest
  | PrivateCancel
  | PrivateAccept
  | PrivateDecline
  | PrivateSwitch
  | PrivateEnd;

/** Answers `hello`. `resumed` tells whether the place in the room was kept. */
export interface Welcome {
  type: "welcome";
  seq: number;
  id?: number | null;
  you: You;
  resume: string;
  resumed: boolean;
  heartbeat_s: number;
  server_time_ms: number;
  balance?: Balance | null;
}

/** The message with this id was done and has no other answer. */
export interface Ack {
  type: "ack";
  seq: number;
  id: number;
}

/** `code` is for programs and stable; `message` is for people; `data` names limits. */
export interface Error {
  type: "error";
  seq: number;
  code: string;
  message: string;
  id?: number | null;
  data?: Record<string, string | number | boolean>;
}

/** Every expert, live ones first. */
export interface PresenceList {
  type: "presence.list";
  seq: number;
  experts: Array<ExpertCard>;
  id?: number | null;
}

/** One expert's card changed. */
export interface PresenceChanged {
  type: "presence.changed";
  seq: number;
  expert: ExpertCard;
}

/** One expert is not on the list any more. */
export interface PresenceGone {
  type: "presence.gone";
  seq: number;
  name: string;
}

/** Answers `room.enter`, and follows a `welcome` that resumed a place. */
export interface RoomEntered {
  type: "room.entered";
  seq: number;
  expert: ExpertCard;
  about: string;
  you_host: boolean;
  favorite: boolean;
  chat: Array<ChatLine>;
  presets: Array<Preset>;
  wall: "none" | "offline" | "private";
  session?: SessionView | null;
  id?: number | null;
}

/** The visitor is out of the room, and why. */
export interface RoomLeft {
  type: "room.left";
  seq: number;
  reason: "left" | "kicked" | "replaced" | "closed";
  id?: number | null;
}

/** The room's presence or this visitor's wall changed. */
export interface RoomState {
  type: "room.state";
  seq: number;
  expert: ExpertCard;
  wall: "none" | "offline" | "private";
}

/** A line of chat; the sender gets it too, as its receipt. */
export interface ChatMessage {
  type: "chat.message";
  seq: number;
  line: ChatLine;
  id?: number | null;
}

/** Answers `media.publish` and `media.watch`; all candidates are in the SDP. */
export interface MediaAnswer {
  type: "media.answer";
  seq: number;
  feed: Feed;
  direction: Direction;
  sdp: string;
  id?: number | null;
}

/** Answers `media.restart`: the earlier answer holds, with these ICE credentials in it. */
export interface MediaRestarted {
  type: "media.restarted";
  seq: number;
  feed: Feed;
  direction: Direction;
  ufrag: string;
  pwd: string;
  id?: number | null;
}

/** The server cut this feed; the client closes its peer connection and may offer anew. */
export interface MediaStopped {
  type: "media.stopped";
  seq: number;
  feed: Feed;
  direction: Direction;
  reason: string;
}

/** From the server's own figures, when the level changes; `far` is of the other person's end. */
export interface MediaQuality {
  type: "media.quality";
  seq: number;
  feed: Feed;
  direction: Direction;
  level: QualityLevel;
  reason: string;
  far?: boolean;
}

/** All of this visitor's connections, once a second while they look. */
export interface Figures {
  type: "figures";
  seq: number;
  connections: Array<ConnectionFigures>;
}

/** The request card of the studio. */
export interface PrivateIncoming {
  type: "private.incoming";
  seq: number;
  session: SessionView;
  member_rank: string;
  balance_band: "under_5_min" | "5_to_10_min" | "over_10_min";
  rate_units_per_s: number;
}

/** The session of this visitor changed phase or switches. */
export interface PrivateState {
  type: "private.state";
  seq: number;
  session: SessionView;
  id?: number | null;
}

/**
 * Once a second to both, from the meter itself.
 *
 * The member gets `balance_units` and `time_left_s`; the expert gets `earned_units`.
 */
export interface PrivateHud {
  type: "private.hud";
  seq: number;
  session: string;
  held_ms: number;
  paused: boolean;
  rate_units_per_s: number;
  cost_units: number;
  lines: Array<CostLine>;
  balance_units?: number | null;
  time_left_s?: number | null;
  earned_units?: number | null;
}

/** Once each at 180, 60, 30 and 10 seconds left. `cause` is how the session would end. */
export interface PrivateLowBalance {
  type: "private.low_balance";
  seq: number;
  session: string;
  seconds_left: number;
  cause: EndReason;
}

/** After the session, to both; the expert's has `earned_units` and no balance. */
export interface PrivateSummary {
  type: "private.summary";
  seq: number;
  session: string;
  reason: EndReason;
  expert: string;
  member: string;
  held_ms: number;
  lines: Array<CostLine>;
  total_units: number;
  started_at_ms: number;
  ended_at_ms: number;
  balance_units?: number | null;
  earned_units?: number | null;
  refund_until_ms?: number | null;
}

/** The member's balance changed. */
export interface WalletBalance {
  type: "wallet.balance";
  seq: number;
  balance: Balance;
}

/** A part of the member's wallet changed, in another tab or by staff: fetch it again. */
export interface WalletChanged {
  type: "wallet.changed";
  seq: number;
  part: WalletPart;
}

/** The member may do more than before; no reconnect is needed. */
export interface AccountUpgraded {
  type: "account.upgraded";
  seq: number;
  you: You;
}

/** The server stops soon; running sessions end cleanly. */
export interface ServerDraining {
  type: "server.draining";
  seq: number;
  seconds: number;
}

export type ServerMessage =
  | Welcome
  | Ack
  | Error
  | PresenceList
  | PresenceChanged
  | PresenceGone
  | RoomEntered
  | RoomLeft
  | RoomState
  | ChatMessage
  | MediaAnswer
  | MediaRestarted
  | MediaStopped
  | MediaQuality
  | Figures
  | PrivateIncoming
  | PrivateState
  | PrivateHud
  | PrivateLowBalance
  | PrivateSummary
  | WalletBalance
  | WalletChanged
  | AccountUpgraded
  | ServerDraining;

