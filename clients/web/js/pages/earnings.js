// The expert's earnings: what is there, by day, week or month and by what, line by line, as a file.

import { Fragment, html, render, useCallback, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { has, locale, t } from "../i18n.js";
import { useSession } from "../session.js";
import { clock, credits, dateTime } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { Badge, EmptyState, ErrorState, Spinner } from "../ui/parts.js";
import { EarnedPanel, PayoutsPanel, usePayouts } from "./earnings-payouts.js";

const PERIODS = ["day", "week", "month"];

/**
 * @typedef {{ feature: string, charged_units: number, earned_units: number, taken_back_units: number, pending_units: number }} Part
 * @typedef {{ first: string, last: string, features: Part[], earned_units: number, taken_back_units: number, pending_units: number }} Span
 * @typedef {{ feature: string, share_percent: number }} Share
 * @typedef {{ shares: Share[], period: string, first: string, last: string, spans: Span[] }} Report
 * @typedef {{ at_ms: number, feature: string, reference: string, charged_units: number, earned_units: number,
 *   taken_back_units: number, state: string, seconds?: number, share_percent?: number, final_at_ms?: number }} Line
 */

/** @param {string} feature what a word of ours stands for it, also for those that come later */
const featureName = (feature) => t(has(`earnings.feature.${feature}`) ? `earnings.feature.${feature}` : "earnings.feature.other");

/**
 * A day, week or month of the server's, which are in UTC wherever one looks at them.
 * @param {Span} span
 * @param {string} period
 */
function spanName(span, period) {
  const day = (/** @type {string} */ text, /** @type {Intl.DateTimeFormatOptions} */ options) =>
    new Intl.DateTimeFormat(locale(), { timeZone: "UTC", ...options }).format(Date.parse(text));
  if (period === "month") return day(span.first, { month: "long", year: "numeric" });
  if (period === "day") return day(span.first, { dateStyle: "medium" });
  return `${day(span.first, { day: "numeric", month: "short" })} – ${day(span.last, { dateStyle: "medium" })}`;
}

/** @param {{ version: number }} props a new version fetches anew */
function Periods({ version }) {
  const [period, setPeriod] = useState(PERIODS[0]);
  const [report, setReport] = useState(/** @type {Report | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const newest = useRef(0);
  const load = useCallback(() => {
    newest.current += 1;
    const mine = newest.current;
    setError(null);
    get(`/earnings?period=${period}`).then(
      (answer) => mine === newest.current && setReport(answer),
      (reason) => mine === newest.current && setError(errorText(reason)),
    );
  }, [period]);
  useEffect(load, [load, version]);
  return html`<section class="earnings-periods" aria-labelledby="periods-title">
    <div class="earnings-head">
      <h2 id="periods-title">${t("earnings.periods")}</h2>
      <div class="row" role="group" aria-label=${t("earnings.period")}>
        ${PERIODS.map(
          (name) => html`<button
            key=${name}
            type="button"
            class="chip"
            aria-pressed=${name === period ? "true" : "false"}
            onClick=${() => setPeriod(name)}
            data-testid=${`period-${name}`}
          >
            ${t(`earnings.period.${name}`)}
          </button>`,
        )}
      </div>
    </div>
    ${error && html`<${ErrorState} text=${error} onRetry=${load} />`}
    ${!report && !error && html`<div class="panel tx-loading"><${Spinner} /></div>`}
    ${report && html`<${Report} report=${report} />`}
  </section>`;
}

/** @param {{ shares: Share[] }} props what counts from now on; one sentence while all are the same */
function Shares({ shares }) {
  const percents = new Set(shares.map((share) => share.share_percent));
  if (percents.size === 1) {
    return html`<p class="muted small" data-testid="earnings-shares">${t("earnings.share", { percent: shares[0].share_percent })}</p>`;
  }
  return html`<section class="panel earnings-shares" aria-labelledby="shares-title" data-testid="earnings-shares">
    <h3 id="shares-title">${t("earnings.shares")}</h3>
    <dl>
      ${shares.map(
        (share) => html`<div key=${share.feature} data-testid="earnings-share" data-feature=${share.feature}>
          <dt>${featureName(share.feature)}</dt>
          <dd class="numbers">${t("earnings.percent", { percent: share.share_percent })}</dd>
        </div>`,
      )}
    </dl>
    <p class="faint small">${t("earnings.shares_note")}</p>
  </section>`;
}

/** @param {{ report: Report }} props */
function Report({ report }) {
  const { spans, period, first, last } = report;
  if (spans.length === 0) {
    return html`<div class="panel" data-testid="earnings-empty">
        <${EmptyState} icon="receipt" heading="h3" title=${t("earnings.empty_title")} text=${t("earnings.empty_text")} />
      </div>
      <${Shares} shares=${report.shares} />`;
  }
  return html`<div class="panel tx-panel">
      <table class="tx-table earnings-table" data-testid="earnings">
        <thead>
          <tr>
            <th scope="col">${t("earnings.when")}</th>
            <th scope="col" class="tx-number earnings-wide">${t("earnings.charged")}</th>
            <th scope="col" class="tx-number">${t("earnings.earned")}</th>
          </tr>
        </thead>
        ${spans.map((span) => html`<${SpanRows} key=${`${period} ${span.first}`} span=${span} period=${period} />`)}
      </table>
    </div>
    <p class="row">
      <a class="button" href=${`/api/v1/earnings.csv?from=${first}&to=${last}`} download data-testid="earnings-csv">
        ${t("earnings.csv")}
      </a>
      <span class="faint small">${t("earnings.utc")}</span>
    </p>
    <${Shares} shares=${report.shares} />`;
}

/** @param {{ units: number, all?: boolean }} props the figure is not said twice when it is all of it */
const PendingUnits = ({ units, all = false }) =>
  html`<span class="earnings-pending faint small" data-testid="earnings-part-pending" data-units=${units}>
    ${all ? t("earnings.state.pending") : t("earnings.pending_of", { amount: credits(units) })}
  </span>`;

/** @param {{ span: Span, period: string }} props */
function SpanRows({ span, period }) {
  const [open, setOpen] = useState(false);
  const details = `span-${period}-${span.first}`;
  const charged = span.features.reduce((sum, part) => sum + part.charged_units, 0);
  return html`<tbody class="earnings-span" data-testid="earnings-span" data-first=${span.first} data-units=${span.earned_units - span.taken_back_units}>
    <tr>
      <th scope="rowgroup">
        <span class="earnings-name">${spanName(span, period)}</span>
        <button
          type="button"
          class="tx-toggle"
          aria-expanded=${open ? "true" : "false"}
          aria-controls=${details}
          onClick=${() => setOpen(!open)}
          data-testid="earnings-details"
        >
          ${t("earnings.details")}<span class="visually-hidden">: ${spanName(span, period)}</span>
          <${Icon} name="chevron-down" size=${16} />
        </button>
      </th>
      <td class="tx-number numbers earnings-wide">${credits(charged)}</td>
      <td class="tx-number numbers">
        <strong>${credits(span.earned_units - span.taken_back_units)}</strong>
        ${span.pending_units > 0 && html`<${PendingUnits} units=${span.pending_units} />`}
      </td>
    </tr>
    ${span.features.map(
      (part) => html`<${Fragment} key=${part.feature}>
        <tr class="earnings-part" data-testid="earnings-part" data-feature=${part.feature}>
          <td>${featureName(part.feature)}</td>
          <td class="tx-number numbers earnings-wide">${credits(part.charged_units)}</td>
          <td class="tx-number numbers">
            ${credits(part.earned_units)}
            ${part.pending_units > 0 && html`<${PendingUnits} units=${part.pending_units} all=${part.pending_units === part.earned_units} />`}
          </td>
        </tr>
        ${part.taken_back_units > 0 &&
        html`<tr class="earnings-part" data-testid="earnings-taken-back">
          <td>${t("earnings.taken_back_of", { feature: featureName(part.feature) })}</td>
          <td class="tx-number earnings-wide"></td>
          <td class="tx-number numbers">−${credits(part.taken_back_units)}</td>
        </tr>`}
      <//>`,
    )}
    <tr id=${details} hidden=${!open} class="tx-detail">
      <td colspan="3">${open && html`<${Lines} first=${span.first} last=${span.last} />`}</td>
    </tr>
  </tbody>`;
}

/** @param {{ first: string, last: string }} props */
function Lines({ first, last }) {
  const [found, setFound] = useState(/** @type {{ lines: Line[], more: boolean } | null} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    get(`/earnings/lines?from=${first}&to=${last}`).then(setFound, (reason) => setError(errorText(reason)));
  }, [first, last]);
  if (error) return html`<p class="muted" role="alert">${error}</p>`;
  if (!found) return html`<${Spinner} />`;
  return html`<ul class="earnings-lines" data-testid="earnings-lines">
      ${found.lines.map((line) => html`<${OneLine} key=${`${line.feature} ${line.reference}`} line=${line} />`)}
      ${found.lines.length === 0 && html`<li class="muted small">${t("earnings.no_lines")}</li>`}
    </ul>
    ${found.more && html`<p class="muted small">${t("earnings.more")}</p>`}`;
}

/** @param {{ line: Line }} props */
function OneLine({ line }) {
  const state =
    line.state === "pending" && line.final_at_ms !== undefined
      ? t("earnings.state.pending_until", { time: dateTime(line.final_at_ms) })
      : t(`earnings.state.${line.state}`);
  return html`<li data-testid="earnings-line" data-state=${line.state} data-units=${line.earned_units}>
    <span class="earnings-what">
      <span>${featureName(line.feature)}${line.seconds !== undefined && html` <span class="muted numbers">${clock(line.seconds * 1000)}</span>`}</span>
      <span class="muted small">${dateTime(line.at_ms)}</span>
      <${Badge} kind=${line.state === "final" ? "live" : line.state === "in_question" ? "warn" : "neutral"}>${state}<//>
    </span>
    <span class="numbers earnings-amount">
      ${credits(line.earned_units)}
      <span class="faint small">
        ${line.share_percent === undefined
          ? t("earnings.of", { amount: credits(line.charged_units) })
          : t("earnings.percent_of", { percent: line.share_percent, amount: credits(line.charged_units) })}
      </span>
      ${line.taken_back_units > 0 &&
      html`<span class="small">${t("earnings.taken_back", { amount: credits(line.taken_back_units) })}</span>`}
    </span>
  </li>`;
}

function Earnings() {
  const [version, setVersion] = useState(0);
  const changed = useCallback(() => setVersion((n) => n + 1), []);
  const loaded = usePayouts(version);
  return html`<h1 class="page-title">${t("earnings.title")}</h1>
    <div class="wallet-columns earnings-columns">
      <${EarnedPanel} loaded=${loaded} onChanged=${changed} />
      <div class="wallet-main"><${Periods} version=${version} /></div>
      <${PayoutsPanel} loaded=${loaded} onChanged=${changed} />
    </div>`;
}

function EarningsPage() {
  const { me } = useSession();
  if (me?.role === "expert") return html`<${Earnings} />`;
  const why = me ? "only" : "sign_in";
  return html`<${EmptyState} icon="studio" heading="h1" title=${t(`earnings.${why}_title`)} text=${t(`earnings.${why}_text`)}>
    ${me
      ? html`<a class="button" href="/">${t("action.home")}</a>`
      : html`<a class="button button-accent" href="/sign-in?next=/earnings">${t("nav.sign_in")}</a>`}
  <//>`;
}

/** @param {HTMLElement} root */
export function mount(root) {
  render(html`<${EarningsPage} />`, root);
}
