// The one door to the vendored view library: components import from here and nowhere else.
import { Component, Fragment, createContext, h, render } from "./preact.mjs";
import htm from "./htm.mjs";

export { Component, Fragment, createContext, h, render };
export {
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useState,
} from "./hooks.mjs";

/** Tagged template that builds virtual nodes: html`<p>${text}</p>`. */
export const html = htm.bind(h);
