// A list that staff works off: which part of it is shown, and asked for again while it is looked at.

import { html, useCallback, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { errorText, get } from "../api.js";
import { t } from "../i18n.js";
import { EmptyState, ErrorState, Spinner } from "../ui/parts.js";

/** How old an open list may be; what a colleague did meanwhile is refused in any case. */
const REFRESH_MS = 20_000;

/**
 * `name` is the end of the list's address (`/staff/{name}?state={part}`), the field of its answer, and
 * the middle of its words (`staff.{name}.title`). `line` shows one of its items; what it decides it
 * tells with `done`.
 * @param {{ name: string, parts: string[], line: (item: any, answer: any, done: () => void) => unknown }} props
 */
export function StaffList({ name, parts, line }) {
  const [part, setPart] = useState(parts[0]);
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {string | null} */ (null));
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  const asked = useRef(0);
  const load = useCallback(() => {
    const mine = ++asked.current; // an answer to an earlier question is none to this one
    get(`/staff/${name}?state=${part}`).then(
      (found) => {
        if (mine !== asked.current) return;
        setAnswer(found);
        setError(null);
      },
      (reason) => mine === asked.current && setError(errorText(reason)),
    );
  }, [name, part]);
  // An item that was decided goes, and the focus would go with it. Nothing else moves the focus.
  const decided = useRef(false);
  const done = () => {
    decided.current = true;
    load();
  };
  useEffect(() => {
    if (decided.current && document.activeElement === document.body) heading.current?.focus();
    decided.current = false;
  }, [answer]);
  useEffect(() => {
    setAnswer(null);
    load();
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") load();
    }, REFRESH_MS);
    return () => {
      asked.current++;
      clearInterval(timer);
    };
  }, [load]);
  const title = `staff-${name}-title`;
  const items = answer?.[name];
  return html`<section class="staff-section" aria-labelledby=${title}>
    <div class="staff-head">
      <h2 id=${title} tabindex="-1" ref=${heading}>${t(`staff.${name}.title`)}</h2>
      <div class="row" role="group" aria-label=${t(`staff.${name}.lists`)}>
        ${parts.map(
          (one) => html`<button
            key=${one}
            type="button"
            class="chip"
            aria-pressed=${one === part ? "true" : "false"}
            onClick=${() => setPart(one)}
            data-testid=${`${name}-${one}`}
          >
            ${t(`staff.${name}.list.${one}`)}
          </button>`,
        )}
      </div>
    </div>
    ${error && html`<${ErrorState} text=${error} onRetry=${load} />`}
    ${!answer && !error && html`<div class="panel tx-loading"><${Spinner} /></div>`}
    ${items?.length === 0 &&
    html`<div class="panel" data-testid=${`${name}-empty`}>
      <${EmptyState} icon="check" heading="h3" title=${t(`staff.${name}.empty.${part}`)} />
    </div>`}
    ${items?.map((/** @type {any} */ item) => line(item, answer, done))}
    ${answer?.more && html`<p class="muted small">${t(`staff.${name}.more.${part}`)}</p>`}
  </section>`;
}
