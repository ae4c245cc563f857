// Generated from signaling/wire.py; do not edit.

export interface Hello {
  type: "hello";
  ticket: string;
  resume?: string | null;
  language?: "en" | "nb";
  id?: number | null;
}
export interface PresenceSubscribe {
  type: "presence.subscribe";
  id?: number | null;
}
export interface RoomEnter {
  type: "room.enter";
  expert: string;
  id?: number | null;
}
export interface RoomLeave {
  type: "room.leave";
  id?: number | null;
}
export interface ChatSend {
  type: "chat.send";
  text: string;
  id?: number | null;
}
export interface ChatPreset {
  type: "chat.preset";
  preset: string;
  id?: number | null;
}
export interface MediaPublish {
  type: "media.publish";
  feed: "stream" | "private";
  sdp: string;
  id?: number | null;
}
export interface MediaUnpublish {
  type: "media.unpublish";
  feed: "stream" | "private";
  id?: number | null;
}
export interface MediaWatch {
  type: "media.watch";
  feed: "stream" | "private";
  sdp: string;
  id?: number | null;
}
export interface MediaUnwatch {
  type: "media.unwatch";
  feed: "stream" | "private";
  id?: number | null;
}
export interface StudioGoOffline {
  type: "studio.go_offline";
  id?: number | null;
}
export interface PrivateRequest {
  type: "private.request";
  accepted_units_per_s: number;
  cam2cam?: boolean;
  two_way_audio?: boolean;
  spend_limit_units?: number | null;
  id?: number | null;
}
export interface PrivateCancel {
  type: "private.cancel";
  id?: number | null;
}
export interface PrivateAccept {
  type: "private.accept";
  session: string;
  id?: number | null;
}
export interface PrivateDecline {
  type: "private.decline";
  session: string;
  id?: number | null;
}
export interface PrivateSwitch {
  type: "private.switch";
  component: "cam2cam" | "two_way_audio";
  on: boolean;
  accepted_units_per_s?: number;
  id?: number | null;
}
export interface PrivateEnd {
  type: "private.end";
  id?: number | null;
}
export interface Prices {
  private: number;
  cam2cam: number;
  two_way_audio: number;
}
export interface ExpertCard {
  name: string;
  display_name: string;
  headline: string;
  categories: (string)[];
  languages: (string)[];
  state: "offline" | "live_free" | "ringing" | "entering_private" | "in_private" | "group_pre" | "group_live" | "going_offline";
  notice: "entering_private" | "in_private" | "going_offline" | null;
  has_sound: boolean;
  cam2cam: boolean;
  two_way_audio: boolean;
  prices: Prices;
  viewers: number;
}
export interface You {
  role: "guest" | "member" | "expert" | "system";
  name: string;
  premium: boolean;
  rank: string;
  language: "en" | "nb";
}
export interface Balance {
  paid_units: number;
  promo_units: number;
  held_units: number;
  available_units: number;
}
export interface ChatLine {
  n: number;
  at_ms: number;
  name: string;
  role: "guest" | "member" | "expert" | "system";
  rank: string;
  text: string;
  preset: string | null;
}
export interface Preset {
  id: string;
  text: string;
}
export interface CostLine {
  component: "private" | "cam2cam" | "two_way_audio";
  on: boolean;
  rate_units_per_s: number;
  seconds: number;
  units: number;
}
export interface SessionView {
  session: string;
  phase: "ringing" | "connecting" | "active" | "paused" | "ending" | "ended";
  expert: string;
  member: string;
  prices: Prices;
  cam2cam: boolean;
  two_way_audio: boolean;
  cam2cam_possible: boolean;
  two_way_audio_possible: boolean;
  ring_ms_left: number;
  grace_ms_left: number;
  reason: "member_left" | "expert_left" | "balance_empty" | "spend_limit" | "media_lost" | "connect_failed" | "declined" | "ring_timeout" | "cancelled" | "server_stopped" | "ledger_unavailable" | "suspended" | null;
}
export interface Welcome {
  type: "welcome";
  seq?: number;
  id?: number | null;
  you: You;
  resume: string;
  resumed: boolean;
  heartbeat_s: number;
  server_time_ms: number;
  balance?: Balance | null;
}
export interface Ack {
  type: "ack";
  seq?: number;
  id: number;
}
export interface Error {
  type: "error";
  seq?: number;
  code: string;
  message: string;
  id?: number | null;
  data?: Record<string, string | number | boolean>;
}
export interface PresenceList {
  type: "presence.list";
  seq?: number;
  experts: (ExpertCard)[];
  id?: number | null;
}
export interface PresenceChanged {
  type: "presence.changed";
  seq?: number;
  expert: ExpertCard;
}
export interface RoomEntered {
  type: "room.entered";
  seq?: number;
  expert: ExpertCard;
  about: string;
  you_host: boolean;
  favorite: boolean;
  chat: (ChatLine)[];
  presets: (Preset)[];
  wall: "none" | "offline" | "private";
  session?: SessionView | null;
  id?: number | null;
}
export interface RoomLeft {
  type: "room.left";
  seq?: number;
  reason: "left" | "kicked" | "replaced" | "closed";
  id?: number | null;
}
export interface RoomState {
  type: "room.state";
  seq?: number;
  expert: ExpertCard;
  wall: "none" | "offline" | "private";
}
export interface ChatMessage {
  type: "chat.message";
  seq?: number;
  line: ChatLine;
  id?: number | null;
}
export interface MediaAnswer {
  type: "media.answer";
  seq?: number;
  feed: "stream" | "private";
  direction: "publish" | "watch";
  sdp: string;
  id?: number | null;
}
export interface MediaStopped {
  type: "media.stopped";
  seq?: number;
  feed: "stream" | "private";
  direction: "publish" | "watch";
  reason: string;
}
export interface MediaQuality {
  type: "media.quality";
  seq?: number;
  feed: "stream" | "private";
  direction: "publish" | "watch";
  level: "good" | "fair" | "poor" | "unknown";
  reason: string;
}
export interface PrivateIncoming {
  type: "private.incoming";
  seq?: number;
  session: SessionView;
  member_rank: string;
  balance_band: "under_5_min" | "5_to_10_min" | "over_10_min";
  rate_units_per_s: number;
}
export interface PrivateState {
  type: "private.state";
  seq?: number;
  session: SessionView;
  id?: number | null;
}
export interface PrivateHud {
  type: "private.hud";
  seq?: number;
  session: string;
  held_ms: number;
  paused: boolean;
  rate_units_per_s: number;
  cost_units: number;
  lines: (CostLine)[];
  balance_units?: number | null;
  time_left_s?: number | null;
  earned_units?: number | null;
}
export interface PrivateLowBalance {
  type: "private.low_balance";
  seq?: number;
  session: string;
  seconds_left: number;
}
export interface PrivateSummary {
  type: "private.summary";
  seq?: number;
  session: string;
  reason: "member_left" | "expert_left" | "balance_empty" | "spend_limit" | "media_lost" | "connect_failed" | "declined" | "ring_timeout" | "cancelled" | "server_stopped" | "ledger_unavailable" | "suspended";
  expert: string;
  member: string;
  held_ms: number;
  lines: (CostLine)[];
  total_units: number;
  started_at_ms: number;
  ended_at_ms: number;
  balance_units?: number | null;
  earned_units?: number | null;
  refund_until_ms?: number | null;
}
export interface WalletBalance {
  type: "wallet.balance";
  seq?: number;
  balance: Balance;
}
export interface AccountUpgraded {
  type: "account.upgraded";
  seq?: number;
  you: You;
}
export interface ServerDraining {
  type: "server.draining";
  seq?: number;
  seconds: number;
}
export type ClientMessage = Hello | PresenceSubscribe | RoomEnter | RoomLeave | ChatSend | ChatPreset | MediaPublish | MediaUnpublish | MediaWatch | MediaUnwatch | StudioGoOffline | PrivateRequest | PrivateCancel | PrivateAccept | PrivateDecline | PrivateSwitch | PrivateEnd;
export type ServerMessage = Welcome | Ack | Error | PresenceList | PresenceChanged | RoomEntered | RoomLeft | RoomState | ChatMessage | MediaAnswer | MediaStopped | MediaQuality | PrivateIncoming | PrivateState | PrivateHud | PrivateLowBalance | PrivateSummary | WalletBalance | AccountUpgraded | ServerDraining;
export type Language = "en" | "nb";
export type Feed = "stream" | "private";
export type Surcharge = "cam2cam" | "two_way_audio";
export type ComponentName = "private" | "cam2cam" | "two_way_audio";
export type Role = "guest" | "member" | "expert" | "system";
export type PresenceState = "offline" | "live_free" | "ringing" | "entering_private" | "in_private" | "group_pre" | "group_live" | "going_offline";
export type Phase = "ringing" | "connecting" | "active" | "paused" | "ending" | "ended";
export type EndReason = "member_left" | "expert_left" | "balance_empty" | "spend_limit" | "media_lost" | "connect_failed" | "declined" | "ring_timeout" | "cancelled" | "server_stopped" | "ledger_unavailable" | "suspended";
export type QualityLevel = "good" | "fair" | "poor" | "unknown";
