// A value that changes, and who wants to know. Knows no DOM.

/** @template T */
export class Store {
  /** @type {T} */ #value;
  /** @type {Set<(value: T) => void>} */ #listeners = new Set();

  /** @param {T} initial */
  constructor(initial) {
    this.#value = initial;
  }

  get value() {
    return this.#value;
  }

  /** @param {T} value told to listeners unless it is the one that there is */
  set(value) {
    if (value === this.#value) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }

  /** @param {Partial<T>} change of an object's members */
  patch(change) {
    const keys = /** @type {(keyof T)[]} */ (Object.keys(change));
    if (keys.every((key) => change[key] === this.#value[key])) return;
    this.set({ ...this.#value, ...change });
  }

  /**
   * @param {(value: T) => void} listener
   * @returns {() => void} stops it
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
