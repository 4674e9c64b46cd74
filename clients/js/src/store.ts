const FRAME_MS = 16; // not an animation frame: a hidden page has none, and yet a title to keep

/** A value that changes, for `useSyncExternalStore`: built when it is read, told of at most once a frame. */
export abstract class Store<Snapshot> {
  #listeners = new Set<() => void>();
  #snapshot: Snapshot | undefined;
  #telling = false;

  /** `listener` is called after changes, at most once a frame; the result stops that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The same object until something changes. */
  readonly snapshot = (): Snapshot => {
    this.#snapshot ??= this.build();
    return this.#snapshot;
  };

  protected abstract build(): Snapshot;

  protected changed(): void {
    this.#snapshot = undefined;
    if (this.#telling || !this.#listeners.size) return;
    this.#telling = true;
    setTimeout(() => {
      this.#telling = false;
      tell(this.#listeners);
    }, FRAME_MS);
  }
}

/** One listener's fault is not another's. */
export function tell<T extends unknown[]>(listeners: Iterable<(...of: T) => void>, ...of: T): void {
  for (const listener of [...listeners]) {
    try {
      listener(...of);
    } catch (error) {
      console.error(error);
    }
  }
}
