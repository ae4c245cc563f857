// The tabs over a side panel (`id="side-panel"`); arrow keys go from one to the next.

import { html } from "../../vendor/preact-htm.js";

/**
 * @param {{ tabs: string[][], chosen: string, label: string,
 *   onChoose: (id: string) => void }} props
 */
export function SideTabs({ tabs, chosen, label, onChoose }) {
  const step = (/** @type {KeyboardEvent} */ event, /** @type {number} */ index) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    const [next] = tabs[(index + by + tabs.length) % tabs.length];
    onChoose(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return html`<div class="side-tabs" role="tablist" aria-label=${label}>
    ${tabs.map(
      ([id, words], index) => html`<button
        key=${id}
        type="button"
        role="tab"
        id=${`tab-${id}`}
        class="side-tab"
        aria-selected=${chosen === id ? "true" : "false"}
        aria-controls="side-panel"
        tabindex=${chosen === id ? 0 : -1}
        onClick=${() => onChoose(id)}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => step(event, index)}
        data-testid=${`tab-${id}`}
      >
        ${words}
      </button>`,
    )}
  </div>`;
}
