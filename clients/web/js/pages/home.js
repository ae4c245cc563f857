// The home page: the grid of experts, who is live, what a private session costs.

import { html, render, useRef, useState } from "../../vendor/preact-htm.js";
import { t, tn } from "../i18n.js";
import { useSession } from "../session.js";
import { languageName } from "../ui/format.js";
import { Icon } from "../ui/icons.js";
import { EmptyState, ErrorState, isLive, Select } from "../ui/parts.js";
import { CardSkeleton, categoryName, ExpertCard } from "./expert-card.js";
import { filterFromQuery, matches, NO_FILTER, queryFromFilter, SORTS, valuesOf } from "./grid.js";
import { useExperts, useOrder } from "./home-data.js";

const SKELETONS = 6;

/** @typedef {import("./grid.js").Filter} Filter */

/** @param {{ pressed: boolean, onPress: () => void, icon?: string, testid: string, children?: any }} props */
function Chip({ pressed, onPress, icon, testid, children }) {
  return html`<button
    type="button"
    class="chip"
    aria-pressed=${pressed ? "true" : "false"}
    onClick=${onPress}
    data-testid=${testid}
  >
    ${icon && html`<${Icon} name=${icon} size=${16} />`}${children}
  </button>`;
}

/** @param {{ id: string, label: string, value: string, options: [string, string][], onChoose: (value: string) => void }} props */
function FilterSelect({ id, label, value, options, onChoose }) {
  return html`<label class="filter-select" for=${id}>
    <span>${label}</span>
    <${Select} id=${id} value=${value} options=${options} onChoose=${onChoose} />
  </label>`;
}

/** @param {{ experts: import("./grid.js").Expert[], filter: Filter, onFilter: (change: Partial<Filter>) => void }} props */
function FilterBar({ experts, filter, onFilter }) {
  const languages = valuesOf(experts, "languages");
  return html`<div class="filter-bar" role="group" aria-label=${t("home.filters")}>
    <div class="filter-chips">
      <${Chip} testid="filter-all" pressed=${!filter.category} onPress=${() => onFilter({ category: "" })}>
        ${t("home.all")}
      <//>
      ${valuesOf(experts, "categories").map(
        (category) => html`<${Chip}
          key=${category}
          testid=${`filter-${category}`}
          pressed=${filter.category === category}
          onPress=${() => onFilter({ category: filter.category === category ? "" : category })}
          >${categoryName(category)}<//
        >`,
      )}
    </div>
    <div class="filter-more">
      <div class="filter-chips">
        <${Chip} testid="filter-live" pressed=${filter.live} onPress=${() => onFilter({ live: !filter.live })}>
          <span class="presence presence-live"><span class="presence-dot"></span></span>${t("home.live_only")}
        <//>
        <${Chip}
          testid="filter-two-way-audio"
          icon="mic"
          pressed=${filter.two_way_audio}
          onPress=${() => onFilter({ two_way_audio: !filter.two_way_audio })}
          >${t("home.two_way_audio")}<//
        >
        <${Chip} testid="filter-cam2cam" icon="camera" pressed=${filter.cam2cam} onPress=${() => onFilter({ cam2cam: !filter.cam2cam })}
          >${t("home.cam2cam")}<//
        >
      </div>
      <div class="filter-selects">
        ${languages.length > 1 &&
        html`<${FilterSelect}
          id="filter-language"
          label=${t("home.language")}
          value=${filter.language}
          options=${[["", t("home.any_language")], ...languages.map((code) => [code, languageName(code)])]}
          onChoose=${(/** @type {string} */ language) => onFilter({ language })}
        />`}
        <${FilterSelect}
          id="sort"
          label=${t("home.sort")}
          value=${filter.sort}
          options=${SORTS.map((sort) => [sort, t(`home.sort.${sort}`)])}
          onChoose=${(/** @type {string} */ sort) => onFilter({ sort })}
        />
      </div>
    </div>
  </div>`;
}

function GuestBar() {
  return html`<aside class="guest-bar" data-testid="guest-bar" aria-label=${t("home.guest_label")}>
    <div>
      <p class="guest-bar-title">${t("home.guest_title")}</p>
      <p class="muted small">${t("home.guest_text")}</p>
    </div>
    <a class="button button-accent" href="/sign-up">${t("home.guest_join")}</a>
  </aside>`;
}

/** @param {{ context: import("../main.js").Context }} props */
function Home({ context }) {
  const { me } = useSession();
  const [filter, setFilter] = useState(() => filterFromQuery(new URLSearchParams(location.search)));
  const grid = useRef(/** @type {HTMLElement | null} */ (null));
  const { experts, error, load } = useExperts(context.wire);
  const order = useOrder(experts, filter.sort, grid);
  const change = (/** @type {Partial<Filter>} */ part) => {
    const next = { ...filter, ...part };
    setFilter(next);
    history.replaceState(null, "", location.pathname + queryFromFilter(next));
  };
  const all = experts ? [...experts.values()] : [];
  const shown = order.flatMap((name) => {
    const expert = experts?.get(name);
    return expert && matches(expert, filter) ? [expert] : [];
  });
  const live = all.filter((expert) => isLive(expert.state)).length;
  return html`<div class="home-head">
      <h1>${t("home.title")}</h1>
      <p class="muted" data-testid="live-count">
        ${experts ? (live > 0 ? tn("home.live_now", live) : t("home.nobody_live")) : html`<span class="skeleton-text" aria-hidden="true"></span>`}
      </p>
    </div>
    ${!me && html`<${GuestBar} />`}
    ${error && !experts
      ? html`<${ErrorState} text=${error} onRetry=${load} />`
      : html`${(!experts || all.length > 0) &&
          html`<${FilterBar} experts=${all} filter=${filter} onFilter=${change} />`}
          <p class="visually-hidden" role="status">${experts ? tn("home.shown", shown.length) : ""}</p>
          <ul class="grid" ref=${grid} aria-label=${t("home.title")} aria-busy=${experts ? undefined : "true"}>
            ${experts
              ? shown.map((expert) => html`<li key=${expert.name}><${ExpertCard} expert=${expert} /></li>`)
              : Array.from({ length: SKELETONS }, (_, n) => html`<li key=${`skeleton-${n}`}><${CardSkeleton} /></li>`)}
          </ul>
          ${experts && shown.length === 0 && html`<${Nothing} any=${all.length > 0} onClear=${() => change({ ...NO_FILTER, sort: filter.sort })} />`}`}`;
}

/** @param {{ any: boolean, onClear: () => void }} props */
function Nothing({ any, onClear }) {
  if (!any) {
    return html`<${EmptyState} icon="studio" title=${t("home.empty_title")} text=${t("home.empty_text")} />`;
  }
  return html`<${EmptyState} icon="settings" title=${t("home.none_title")} text=${t("home.none_text")}>
    <button type="button" class="button" onClick=${onClear} data-testid="clear-filters">${t("home.clear")}</button>
  <//>`;
}

/**
 * @param {HTMLElement} root
 * @param {import("../main.js").Context} context
 * @returns {import("../main.js").Mounted}
 */
export function mount(root, context) {
  document.title = `${t("home.document_title")} · Parlour`;
  render(html`<${Home} context=${context} />`, root);
  return { leave: () => render(null, root) };
}
