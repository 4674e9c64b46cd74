/** Something that changes, for `useSyncExternalStore`: told of once a frame, however often it changed. */
export abstract class Observed<Snapshot> {
  readonly #listeners = new Set<() => void>();
  #telling = false;

  abstract readonly snapshot: () => Snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  protected changed(): void {
    if (this.#telling) return;
    this.#telling = true;
    // A hidden page has no frames; it need not be drawn, but it has dialogs to open when it is seen again.
    const next = document.hidden ? (callback: () => void) => setTimeout(callback, 50) : requestAnimationFrame;
    next(() => {
      this.#telling = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}
