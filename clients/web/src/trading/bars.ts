/** Prices by the second, or by more of them, as they came; the oldest are let go. */

/** `time` is when it begins, in seconds since the epoch by the server's clock. */
export interface Bar {
  readonly time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export const INTERVALS = [1, 5, 60] as const; // seconds
export type Interval = (typeof INTERVALS)[number];

const MOST = { 1: 1800, 5: 1440, 60: 1440 } as const;
const SLACK = 256; // let go at once, so that it is not done for every new bar
const BACK_SECONDS = 60; // nodes' clocks differ a little; more than this is a clock that was set

export class Bars {
  /** Oldest first, `time` strictly rising. */
  readonly list: Bar[] = [];
  /** Bars that were let go at the front. */
  removed = 0;
  /** Rises when it begins anew. */
  generation = 0;

  constructor(readonly interval: Interval) {}

  add(at: number, price: number, volume: number): void {
    const time = Math.floor(at / 1000 / this.interval) * this.interval;
    let last = this.list.at(-1);
    if (last && time < last.time - Math.max(BACK_SECONDS, this.interval)) {
      this.list.length = 0;
      this.removed = 0;
      this.generation++;
      last = undefined;
    }
    if (last && time <= last.time) {
      last.high = Math.max(last.high, price);
      last.low = Math.min(last.low, price);
      last.close = price;
      last.volume += volume;
      return;
    }
    this.list.push({ time, open: price, high: price, low: price, close: price, volume });
    if (this.list.length > MOST[this.interval] + SLACK) {
      this.list.splice(0, SLACK);
      this.removed += SLACK;
    }
  }
}
