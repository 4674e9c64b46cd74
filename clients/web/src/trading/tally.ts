/** What became of a channel's numbered messages: arrived, conflated, or missed. Nothing of their content. */

const WINDOW_MS = 3000;
const SLOTS = 6;

/** Messages a second over the last three seconds, at a fixed cost. */
export class Rate {
  readonly #slots = new Float64Array(SLOTS);
  #slot = 0;
  readonly #began: number;

  constructor(private readonly now: () => number = () => performance.now()) {
    this.#began = now();
  }

  count(messages = 1): void {
    this.#turn();
    this.#slots[this.#slot % SLOTS] = (this.#slots[this.#slot % SLOTS] ?? 0) + messages;
  }

  get perSecond(): number {
    this.#turn();
    const seconds = Math.min(Math.max(this.now() - this.#began, WINDOW_MS / SLOTS), WINDOW_MS) / 1000;
    return this.#slots.reduce((sum, each) => sum + each, 0) / seconds;
  }

  #turn(): void {
    const slot = Math.floor(this.now() / (WINDOW_MS / SLOTS));
    for (let step = Math.max(this.#slot + 1, slot - SLOTS + 1); step <= slot; step++) this.#slots[step % SLOTS] = 0;
    this.#slot = Math.max(slot, this.#slot);
  }
}

/** What a message is to the one who counts. */
export interface Arrival {
  readonly seq: number;
  /** When it was published, in milliseconds by the server's clock. */
  readonly at: number;
  readonly conflated?: number | undefined;
  /** In the ack of a subscription, not as an event. */
  readonly replayed: boolean;
  /** It was said while there was no connection, and brought all the same. */
  readonly recovered: boolean;
}

const SETTLING_MS = 5000;

/**
 * Every number above where the subscription began is one that arrived, one that a newer value replaced (the server says
 * how many), or one that was missed. The order does not matter: of a conflated channel it holds for each value only.
 */
export class Tally {
  newest = 0;
  received = 0;
  conflated = 0;
  recovered = 0;
  /** Times that the channel began a new count, by which nobody knows what was missed. */
  restarts = 0;
  /** When the newest was published, in milliseconds by the server's clock; 0 before there was one. */
  at = 0;
  /** How long the newest event was under way, in milliseconds; undefined where the server's clock is not known. */
  delay: number | undefined;
  readonly rate: Rate;
  #base: number | undefined;
  /** Of `received` and `conflated`, since `#base`. */
  #accounted = 0;
  #missedBefore = 0;
  /** Up to here the newest subscription has told, at `#toldAt`: events of the same may yet come. */
  #told = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly now: () => number = () => performance.now()) {
    this.rate = new Rate(now);
  }

  /** Messages that never arrived and that nothing newer stands for. */
  get missed(): number {
    const open = this.#base === undefined ? 0 : this.newest - this.#base - this.#accounted;
    return this.#missedBefore + Math.max(0, open);
  }

  /** False for one that is known already. */
  take({ seq, at, conflated = 0, replayed, recovered }: Arrival): boolean {
    const settling = replayed || this.now() - this.#toldAt < SETTLING_MS;
    if (this.#base !== undefined && settling && seq <= (replayed ? this.newest : this.#told)) {
      if (at <= this.at) return false;
      this.#restart(); // a lower number, later: the server lost its count
    }
    if (replayed) {
      this.#told = Math.max(this.#told, seq);
      this.#toldAt = this.now();
    }
    this.#base ??= seq - 1 - conflated;
    if (seq > this.#base) this.#accounted += 1 + conflated;
    this.received++;
    this.conflated += conflated;
    if (recovered) this.recovered++;
    this.rate.count();
    if (seq >= this.newest) {
      this.newest = seq;
      this.at = at;
    }
    return true;
  }

  #restart(): void {
    this.#missedBefore = this.missed;
    this.restarts++;
    this.#base = undefined;
    this.#accounted = this.newest = this.#told = 0;
  }
}
