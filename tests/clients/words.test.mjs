// Words that the pages of room and studio build their keys for: each of them must exist.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { qualityTexts } from "../../clients/web/js/figures/quality-button.js";
import { addCatalog, setLanguage } from "../../clients/web/js/i18n.js";

const WEB = fileURLToPath(new URL("../../clients/web/", import.meta.url));
const catalog = (area, lang) => JSON.parse(readFileSync(`${WEB}i18n/${area}.${lang}.json`, "utf8"));

test("every end, problem and check has words", () => {
  const words = { ...catalog("room", "en"), ...catalog("studio", "en") };
  const wire = readFileSync(`${WEB}wire.d.ts`, "utf8");
  const reasons = /type EndReason = ([^;]+);/.exec(wire)[1].match(/\w+/g);
  const devices = ["insecure", "unsupported", "denied", "missing", "busy", "unsuitable", "failed"];
  const checks = readFileSync(`${WEB}js/studio/checks.js`, "utf8").matchAll(/id: "(\w+)", level: [^,]+, key: "(\w+)"/g);
  const wanted = [
    ...reasons.map((reason) => `room.end.${reason}`),
    ...devices.flatMap((problem) => [`devices.video.${problem}`, `devices.audio.${problem}`]),
    ...["chrome", "edge", "firefox", "safari", "samsung", "other"].map((family) => `devices.allow.${family}`),
    ...[...checks].map((match) => `studio.check.${match[1]}.${match[2]}`),
  ];
  assert.deepEqual(wanted.filter((key) => !(key in words)), []);
});

test("what stands beside the bars begins the button's name", () => {
  for (const lang of ["en", "nb"]) {
    setLanguage(lang);
    addCatalog(lang, catalog("room", lang));
    for (const whose of ["own", "other"]) {
      for (const reason of ["loss", "bandwidth:down", "no_report"]) {
        for (const level of ["good", "fair", "poor", "unknown"]) {
          const { word, label, sentence } = qualityTexts({ level, reason, whose }, "mia");
          assert.equal(word !== "", level === "fair" || level === "poor");
          assert.ok(label.startsWith(word || sentence), label);
          assert.ok(sentence.length > word.length && !/[{}]|^quality\./.test(label + sentence), label);
        }
      }
    }
  }
  setLanguage("en");
});
