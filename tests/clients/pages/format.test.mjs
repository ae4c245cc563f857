// Money, time and names as text, in both languages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { addCatalog, setLanguage } from "../../../clients/web/js/i18n.js";
import { leftText, nextStepMs } from "../../../clients/web/js/ui/countdown.js";
import {
  clock,
  credits,
  creditsText,
  languageName,
  money,
  perMinute,
  perMinuteText,
  signedCredits,
} from "../../../clients/web/js/ui/format.js";

addCatalog("en", { "money.credits": "{amount} credits", "money.per_min": "{amount}/min" });
addCatalog("nb", { "money.credits": "{amount} kreditter" });

test("6,000 units are one credit, shown with two decimals", () => {
  setLanguage("en");
  assert.equal(credits(74_400), "12.40");
  assert.equal(credits(37_375), "6.23"); // 125 s at 2.99/min
  assert.equal(credits(9_970), "1.66");
  assert.equal(credits(0), "0.00");
  assert.equal(credits(29), "0.00");
  assert.equal(credits(30), "0.00"); // half a hundredth goes to the even one
  assert.equal(credits(31), "0.01");
  assert.equal(credits(90), "0.02");
  assert.equal(credits(6_000 * 1_234.5), "1,234.50");
  assert.equal(credits(-12_000), "-2.00");
  assert.equal(credits(-2), "0.00");
});

test("Norwegian writes a comma", () => {
  setLanguage("nb");
  assert.equal(creditsText(74_400), "12,40 kreditter");
  assert.equal(perMinute(299), "2,99");
  setLanguage("en");
});

test("units per second are hundredths of a credit per minute", () => {
  assert.equal(perMinuteText(299), "2.99/min");
  assert.equal(perMinuteText(50), "0.50/min");
  assert.equal(perMinuteText(0), "0.00/min");
});

test("movements carry their sign", () => {
  assert.equal(signedCredits(167_940), "+27.99");
  assert.equal(signedCredits(-37_375), "\u22126.23");
  assert.equal(signedCredits(0), "0.00");
});

test("prices in their currency", () => {
  assert.equal(money(2799, "EUR"), "€27.99");
});

test("clock", () => {
  assert.equal(clock(0), "00:00");
  assert.equal(clock(59_999), "00:59");
  assert.equal(clock(125_000), "02:05");
  assert.equal(clock(3_600_000), "1:00:00");
  assert.equal(clock(-5), "00:00");
});

test("languages by their name", () => {
  assert.equal(languageName("en"), "English");
  assert.equal(languageName("nb"), "Norwegian");
  assert.equal(languageName("not a code"), "not a code");
  setLanguage("nb");
  assert.equal(languageName("nb"), "Norsk");
  setLanguage("en");
});

test("what is left of a day, and when that text changes", () => {
  addCatalog("en", { "left.s": "{s} s", "left.min": "{min} min", "left.h_min": "{h} h {min} min" });
  setLanguage("en");
  const hour = 3_600_000;
  const minute = 60_000;
  assert.deepEqual(
    [24 * hour, 23 * hour + 1, hour + 1, hour, 59 * minute, minute + 1, minute, 59_001, 1_000, 1, 0, -5].map(leftText),
    ["24 h 0 min", "23 h 1 min", "1 h 1 min", "1 h 0 min", "59 min", "2 min", "1 min", "1 min", "1 s", "1 s", "0 s", "0 s"],
  );
  for (const ms of [24 * hour, hour + 17, 59 * minute + 3, 61_001, 60_000, 59_500, 1_200, 20]) {
    const step = nextStepMs(ms);
    assert.equal(leftText(ms - (step - 21) + 1), leftText(ms), `${ms} too late`);
    assert.notEqual(leftText(ms - step), leftText(ms), `${ms} too early`);
  }
});
