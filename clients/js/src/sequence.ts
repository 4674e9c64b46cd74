const MOST = 5000; // held

/** Hands on what is numbered in order, each once. What comes too early is held until what is before it was filled in. */
export class Sequence<T extends { seq: number }> {
  /** The newest that was handed on; undefined before `begin`. */
  last: number | undefined;
  /** By number. */
  readonly held = new Map<number, T>();
  #deliver: (item: T) => void;

  constructor(deliver: (item: T) => void) {
    this.#deliver = deliver;
  }

  /** What was held, and follows, is handed on. */
  begin(last: number): void {
    this.last = last;
    this.#drain();
  }

  /** False where something before it is missing, or where that is not known yet. */
  take(item: T): boolean {
    if (this.last !== undefined && item.seq <= this.last) return true;
    if (this.held.size < MOST) this.held.set(item.seq, item);
    this.#drain();
    return !this.held.size;
  }

  #drain(): void {
    if (this.last === undefined) return;
    for (const seq of this.held.keys()) if (seq <= this.last) this.held.delete(seq);
    for (let item = this.held.get(this.last + 1); item; item = this.held.get(this.last + 1)) {
      this.held.delete(item.seq);
      this.last = item.seq;
      this.#deliver(item);
    }
  }
}
