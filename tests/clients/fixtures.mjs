// Messages as the server sends them, for the tests of the browser client.

export const PRICES = { private: 299, cam2cam: 100, two_way_audio: 50 };

export function card(change = {}) {
  return {
    name: "luna",
    display_name: "Luna",
    headline: "Tarot",
    categories: ["tarot"],
    languages: ["en"],
    state: "live_free",
    notice: null,
    has_sound: true,
    cam2cam: true,
    two_way_audio: true,
    prices: PRICES,
    viewers: 1,
    ...change,
  };
}

export function you(change = {}) {
  return { role: "member", name: "ada", premium: true, rank: "none", language: "en", locked: [], ...change };
}

export function welcome(change = {}) {
  return {
    type: "welcome",
    seq: 1,
    you: you(),
    resume: "token-1",
    resumed: false,
    heartbeat_s: 15,
    server_time_ms: 0,
    ...change,
  };
}

export function entered(change = {}) {
  return {
    type: "room.entered",
    seq: 2,
    expert: card(),
    about: "",
    you_host: false,
    favorite: false,
    chat: [],
    presets: [],
    wall: "none",
    ...change,
  };
}

export function session(change = {}) {
  return {
    session: "s1",
    phase: "ringing",
    expert: "luna",
    member: "ada",
    prices: PRICES,
    cam2cam: false,
    two_way_audio: false,
    cam2cam_possible: true,
    two_way_audio_possible: true,
    ring_ms_left: 30_000,
    grace_ms_left: 0,
    reason: null,
    ...change,
  };
}

export function hud(change = {}) {
  return {
    type: "private.hud",
    session: "s1",
    held_ms: 3_000,
    paused: false,
    rate_units_per_s: 299,
    cost_units: 897,
    lines: [{ component: "private", on: true, rate_units_per_s: 299, seconds: 3, units: 897 }],
    balance_units: 50_000,
    time_left_s: 167,
    ...change,
  };
}

export function summary(change = {}) {
  return {
    type: "private.summary",
    session: "s1",
    reason: "member_left",
    expert: "luna",
    member: "ada",
    held_ms: 3_000,
    lines: [],
    total_units: 897,
    started_at_ms: 1,
    ended_at_ms: 2,
    balance_units: 50_000,
    ...change,
  };
}

export function line(n, change = {}) {
  return { n, at_ms: n, name: "ada", role: "member", rank: "none", text: `line ${n}`, preset: null, ...change };
}
