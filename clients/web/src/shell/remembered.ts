/** One choice of a few that this browser remembers; where it may not (private windows), for this page only. */
export class Remembered<T extends string> {
  readonly #key: string;
  readonly #listeners = new Set<() => void>();
  value: T;

  constructor(key: string, choices: readonly T[], initial: T) {
    this.#key = key;
    this.value = initial;
    try {
      const found = localStorage.getItem(key);
      if (choices.includes(found as T)) this.value = found as T;
    } catch {
      // storage is forbidden here
    }
  }

  set = (value: T): void => {
    this.value = value;
    try {
      localStorage.setItem(this.#key, value);
    } catch {
      // as above
    }
    for (const listener of this.#listeners) listener();
  };

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}
