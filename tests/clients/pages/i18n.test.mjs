// The words: both languages have every key, with the same placeholders; the page uses no other keys.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { addCatalog, has, setLanguage, t, tn } from "../../../clients/web/js/i18n.js";

const WEB = fileURLToPath(new URL("../../../clients/web/", import.meta.url));
const I18N = join(WEB, "i18n");

/** @param {string} name */
const catalog = (name) => JSON.parse(readFileSync(join(I18N, name), "utf8"));
/** @param {string} text */
const placeholders = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1]).sort();

const files = readdirSync(I18N);
const areas = [...new Set(files.map((file) => file.split(".")[0]))];

test("every area is there in both languages, and nothing else lies in the folder", () => {
  const wanted = areas.flatMap((area) => [`${area}.en.json`, `${area}.nb.json`]);
  assert.deepEqual(files.toSorted(), wanted.toSorted());
});

for (const area of areas) {
  test(`${area}: the same keys with the same placeholders, none empty`, () => {
    const en = catalog(`${area}.en.json`);
    const nb = catalog(`${area}.nb.json`);
    assert.deepEqual(Object.keys(nb).toSorted(), Object.keys(en).toSorted());
    for (const [key, text] of Object.entries(en)) {
      assert.deepEqual(placeholders(nb[key]), placeholders(text), key);
      assert.ok(text.trim() && nb[key].trim(), key);
    }
  });
}

test("no key stands in two catalogs with two meanings", () => {
  /** @type {Map<string, string>} */
  const seen = new Map();
  for (const file of files.filter((name) => name.endsWith(".en.json"))) {
    for (const [key, text] of Object.entries(catalog(file))) {
      assert.ok(!seen.has(key) || seen.get(key) === text, `${key} in ${file}`);
      seen.set(key, text);
    }
  }
});

test("a counted key has both forms", () => {
  for (const file of files) {
    const keys = Object.keys(catalog(file));
    for (const key of keys.filter((name) => name.endsWith(".one"))) {
      assert.ok(keys.includes(key.replace(/\.one$/, ".other")), `${key} in ${file}`);
    }
  }
});

/** @param {string} folder */
function scripts(folder) {
  /** @type {string[]} */
  const found = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...scripts(path));
    else if (entry.name.endsWith(".js")) found.push(path);
  }
  return found;
}

test("every key that a script names literally exists", () => {
  const all = new Set(files.filter((f) => f.endsWith(".en.json")).flatMap((f) => Object.keys(catalog(f))));
  for (const path of scripts(join(WEB, "js"))) {
    const text = readFileSync(path, "utf8");
    for (const [, call, key] of text.matchAll(/\b(tn?)\("([a-z][\w.-]*)"/g)) {
      assert.ok(all.has(call === "tn" ? `${key}.other` : key), `${key} in ${path}`);
    }
  }
});

test("English stands in for a missing translation, the key for a missing text", () => {
  addCatalog("en", { "x.both": "both", "x.english": "only {what}", "x.n.one": "{count} thing", "x.n.other": "{count} things" });
  addCatalog("nb", { "x.both": "begge" });
  setLanguage("nb");
  assert.equal(t("x.both"), "begge");
  assert.equal(t("x.english", { what: "here" }), "only here");
  assert.equal(t("x.absent"), "x.absent");
  assert.equal(has("x.absent"), false);
  setLanguage("en");
  assert.equal(t("x.both"), "both");
});

test("values: numbers as the language writes them, unknown placeholders stay", () => {
  setLanguage("nb");
  addCatalog("nb", { "x.value": "{n} av {rest}" });
  assert.equal(t("x.value", { n: 1.5 }), "1,5 av {rest}");
  assert.equal(tn("x.n", 1), "1 thing");
  assert.equal(tn("x.n", 2), "2 things");
  setLanguage("en");
});

test("an unknown language is English", () => {
  setLanguage("xx");
  assert.equal(t("x.both"), "both");
});
