/** The newest price of each symbol, with bars. It takes thousands of ticks a second and tells nobody of one: `frames.ts`
 * asks once a frame for what changed.
 */
import { Bars, INTERVALS, type Interval } from "./bars";
import type { Tick } from "./ticks";

export class Quote {
  name = "";
  price = 0;
  change: number | null = null;
  /** 1, 0, -1: against the price before. */
  direction = 0;
  /** Shares in the trades that arrived here, since the page was opened. */
  volume = 0;
  at = 0;
  /** Digits behind the point that its prices have had. */
  digits = 0;
  readonly bars = Object.fromEntries(INTERVALS.map((each) => [each, new Bars(each)])) as Record<Interval, Bars>;

  constructor(readonly symbol: string) {}

  /** Percent against the previous close; null where that is not known. */
  get changePercent(): number | null {
    const close = this.change === null ? 0 : this.price - this.change;
    return close > 0 ? ((this.change as number) / close) * 100 : null;
  }

  take(tick: Tick): void {
    this.direction = this.at === 0 ? 0 : Math.sign(tick.price - this.price);
    this.name = tick.name || this.name;
    this.price = tick.price;
    this.digits = Math.max(this.digits, digitsOf(tick.price));
    this.change = tick.change;
    this.volume += tick.volume;
    this.at = tick.at;
    for (const interval of INTERVALS) this.bars[interval].add(tick.at, tick.price, tick.volume);
  }
}

const MOST_SYMBOLS = 500;
const MOST_DIGITS = 7; // of a price in all, where it has a fraction

const digitsOf = (price: number): number => {
  if (Number.isInteger(price)) return 0;
  const [whole = "", fraction = ""] = String(Math.abs(price)).split(".");
  return Math.min(fraction.length, Math.max(0, MOST_DIGITS - whole.length));
};

export class Market {
  readonly #quotes = new Map<string, Quote>();
  readonly #listeners = new Set<() => void>();
  #changed = new Set<string>();
  #symbols: readonly string[] = [];
  /** Ticks of symbols beyond those that there is room for. */
  refused = 0;

  take(tick: Tick): void {
    let quote = this.#quotes.get(tick.symbol);
    if (quote === undefined) {
      if (this.#quotes.size >= MOST_SYMBOLS) {
        this.refused++;
        return;
      }
      quote = new Quote(tick.symbol);
      this.#quotes.set(tick.symbol, quote);
      this.#symbols = [...this.#quotes.keys()];
      for (const listener of this.#listeners) listener();
    }
    quote.take(tick);
    this.#changed.add(tick.symbol);
  }

  quote(symbol: string): Quote | undefined {
    return this.#quotes.get(symbol);
  }

  /** Symbols with a new tick since this was asked last. */
  changes(): ReadonlySet<string> {
    const changed = this.#changed;
    if (changed.size > 0) this.#changed = new Set();
    return changed;
  }

  /** Every symbol there was a tick of. The same array until there is another. */
  readonly symbols = (): readonly string[] => this.#symbols;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}
