// The Reward Club in the wallet: rank, this month's points, how far it is to the next rank.

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { get } from "../api.js";
import { t } from "../i18n.js";
import { dateOnly } from "../ui/format.js";
import { Facts } from "../ui/parts.js";

/**
 * @typedef {{ name: string, points: number }} Rank
 * @typedef {{ rank: string, kept_until_ms: number | null, points: number, month_ends_at_ms: number,
 *   next: Rank | null, ranks: Rank[] }} Rewards
 */

/** @param {{ version: number }} props a new version fetches the points again */
export function RewardsBox({ version }) {
  const [club, setClub] = useState(/** @type {Rewards | null} */ (null));
  useEffect(() => {
    get("/wallet/rewards").then(setClub, () => {});
  }, [version]);
  if (!club) return null;
  const { rank, points, next } = club;
  return html`<section class="panel wallet-rewards" aria-labelledby="rewards-title" data-testid="rewards">
    <div class="rewards-head">
      <h2 id="rewards-title">${t("rewards.title")}</h2>
      <span class=${`badge badge-rank rank-${rank}`} data-testid="rewards-rank" data-rank=${rank}>${t(`rank.${rank}`)}</span>
    </div>
    <p>
      <span class="numbers" data-testid="rewards-points" data-points=${points}>${t("rewards.points", { points })}</span>
    </p>
    ${next &&
    html`<progress class="limit-bar" max=${next.points} value=${points} aria-label=${t("rewards.bar", { rank: t(`rank.${next.name}`) })} />
      <p class="muted small">${t("rewards.next", { left: next.points - points, rank: t(`rank.${next.name}`) })}</p>`}
    ${club.kept_until_ms !== null &&
    html`<p class="muted small">${t("rewards.kept", { rank: t(`rank.${rank}`), date: dateOnly(club.kept_until_ms) })}</p>`}
    <details class="rewards-all small">
      <summary>${t("rewards.how")}</summary>
      <p class="muted">${t("rewards.text")}</p>
      <${Facts} rows=${club.ranks.map((one) => [t(`rank.${one.name}`), t("rewards.from", { points: one.points })])} />
    </details>
  </section>`;
}
