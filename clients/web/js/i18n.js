// Words of the page: catalogs per area and language, English where a translation is missing.

/** @typedef {"en" | "nb"} Language */
/** @typedef {Record<string, string | number>} Values */

const FALLBACK = "en";

/** @type {{ lang: Language, own: Record<string, string>, fallback: Record<string, string> }} */
const state = { lang: FALLBACK, own: {}, fallback: {} };
/** @type {Set<string>} */
const loaded = new Set();

/**
 * Choose the language of everything said from now on.
 * @param {string} lang
 */
export function setLanguage(lang) {
  state.lang = lang === "nb" ? "nb" : FALLBACK;
}

/** @returns {Language} */
export function language() {
  return state.lang;
}

/** The locale for `Intl`: Norwegian digits and dates for `nb`, British ones for `en`. */
export function locale() {
  return state.lang === "nb" ? "nb-NO" : "en-GB";
}

/**
 * Merge a catalog into the words of its language.
 * @param {Language} lang
 * @param {Record<string, string>} words
 */
export function addCatalog(lang, words) {
  if (lang === FALLBACK) Object.assign(state.fallback, words);
  else Object.assign(state.own, words);
}

/**
 * Fetch `/static/i18n/<area>.<lang>.json` for each area, with English beside it as the fallback.
 * A catalog that cannot be fetched leaves its keys to the fallback.
 * @param {string[]} areas
 */
export async function loadCatalogs(areas) {
  const languages = state.lang === FALLBACK ? [FALLBACK] : [FALLBACK, state.lang];
  const wanted = areas.flatMap((area) => languages.map((lang) => ({ area, lang })));
  await Promise.all(
    wanted.map(async ({ area, lang }) => {
      const name = `${area}.${lang}`;
      if (loaded.has(name)) return;
      loaded.add(name);
      try {
        const response = await fetch(new URL(`../i18n/${name}.json`, import.meta.url));
        if (!response.ok) throw new Error(`${response.status}`);
        addCatalog(/** @type {Language} */ (lang), await response.json());
      } catch (error) {
        loaded.delete(name);
        console.warn(`no words for ${name}:`, error);
      }
    }),
  );
}

/**
 * @param {string} key
 * @returns {string | undefined}
 */
function lookup(key) {
  return (state.lang === FALLBACK ? undefined : state.own[key]) ?? state.fallback[key];
}

/** @param {string} key whether any catalog has this key */
export function has(key) {
  return lookup(key) !== undefined;
}

/**
 * The text of a key, with `{name}` replaced by `values.name`. Numbers are written as the
 * language writes them. An unknown key shows itself, so that it is seen in development.
 * @param {string} key
 * @param {Values} [values]
 */
export function t(key, values = {}) {
  const text = lookup(key) ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? value.toLocaleString(locale()) : value;
  });
}

/**
 * The text of a counted key: `<key>.one` or `<key>.other` by the language's plural rule.
 * @param {string} key
 * @param {number} count available as `{count}`
 * @param {Values} [values]
 */
export function tn(key, count, values = {}) {
  const rule = new Intl.PluralRules(locale()).select(count);
  const chosen = has(`${key}.${rule}`) ? rule : "other";
  return t(`${key}.${chosen}`, { count, ...values });
}
