// Types of the vendored view library, as far as this site uses it.
export type Ref<T> = { current: T };
type Update<S> = (value: S | ((previous: S) => S)) => void;
type Cleanup = void | (() => void);

export function html(strings: TemplateStringsArray, ...values: any[]): any;
export function h(type: any, props: any, ...children: any[]): any;
export function render(node: any, parent: Element | DocumentFragment): void;
export function createContext<T>(value: T): any;
export const Fragment: any;
export class Component<P = any, S = any> {
  constructor(props?: P);
  props: P;
  state: S;
  setState(change: Partial<S> | ((state: S) => Partial<S>)): void;
}
export function useState<S>(initial: S | (() => S)): [S, Update<S>];
export function useEffect(run: () => Cleanup, inputs?: readonly unknown[]): void;
export function useLayoutEffect(run: () => Cleanup, inputs?: readonly unknown[]): void;
export function useRef<T>(initial: T): Ref<T>;
export function useMemo<T>(make: () => T, inputs?: readonly unknown[]): T;
export function useCallback<T extends (...args: any[]) => any>(run: T, inputs?: readonly unknown[]): T;
export function useContext<T>(context: any): T;
export function useReducer<S, A>(reduce: (state: S, action: A) => S, initial: S): [S, (action: A) => void];
export function useId(): string;
export function useErrorBoundary(handle?: (error: unknown) => void): [unknown, () => void];
