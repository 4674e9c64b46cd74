// biome-ignore-all lint/a11y/useSemanticElements: a virtualised table scrolls by itself, which no <table> does
// biome-ignore-all lint/a11y/useFocusableInteractive: what is to be focused in it are its buttons
/** A symbol's row. React draws it once; prices are written into its cells by frame, without React. */
import { useLayoutEffect, useRef } from "react";
import { type Language, useLanguage, useWords } from "../shell/words";
import type { Desk } from "./desk";
import { moved, NONE, percent, plain, short, way } from "./formats";
import type { Quote } from "./market";
import { WORDS } from "./words";

const FLASH_MS = 160;
const SPARK_EVERY_MS = 250;
const SPARK_BARS = 60;
const SPARK_WIDTH = 64;
const SPARK_HEIGHT = 22;

const stillness = matchMedia("(prefers-reduced-motion: reduce)");

interface Props {
  readonly index: number;
  readonly desk: Desk;
  readonly symbol: string;
  readonly isChosen: boolean;
  readonly isStarred: boolean;
  readonly onChoose: (symbol: string) => void;
  readonly onStar: (symbol: string) => void;
}

export function QuoteRow({ index, desk, symbol, isChosen, isStarred, onChoose, onStar }: Props) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const row = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (row.current === null) return;
    const cells = new Cells(row.current, language);
    const end = desk.painted(symbol, (quote, at) => cells.paint(quote, at));
    const quote = desk.market.quote(symbol);
    if (quote !== undefined) cells.write(quote);
    return () => {
      end();
      cells.close();
    };
  }, [desk, symbol, language]);

  return (
    <div ref={row} role="row" aria-rowindex={index + 2} className="trading-quote" data-symbol={symbol}>
      <span role="cell">
        <button
          type="button"
          className="bare trading-star"
          aria-pressed={isStarred}
          aria-label={isStarred ? t.unpin(symbol) : t.pin(symbol)}
          onClick={() => onStar(symbol)}
        >
          {isStarred ? "★" : "☆"}
        </button>
      </span>
      <span role="cell" className="trading-symbol">
        <button type="button" aria-current={isChosen} title={symbol} onClick={() => onChoose(symbol)}>
          <b className="clip" data-cell="name">
            {symbol}
          </b>
          <span className="clip small muted" data-cell="symbol" />
        </button>
      </span>
      <span role="cell" className="trading-last number">
        <span data-cell="last">{NONE}</span>
      </span>
      <span role="cell" className="trading-change number" data-cell="change">
        {NONE}
      </span>
      <span role="cell" className="trading-percent number" data-cell="percent">
        {NONE}
      </span>
      <span role="cell" className="trading-volume number" data-cell="volume">
        {NONE}
      </span>
      <span role="cell" className="trading-spark">
        <svg width={SPARK_WIDTH} height={SPARK_HEIGHT} aria-hidden="true">
          <polyline data-cell="spark" fill="none" strokeWidth="1.4" strokeLinejoin="round" />
        </svg>
      </span>
    </div>
  );
}

const NAMES = ["name", "symbol", "last", "change", "percent", "volume"] as const;

class Cells {
  readonly #texts: Readonly<Record<(typeof NAMES)[number], Text>>;
  readonly #spark: Element;
  readonly #button: HTMLElement;
  #way = "";
  #flashing: ReturnType<typeof setTimeout> | undefined;
  #drawnAt = 0;

  constructor(
    private readonly row: HTMLElement,
    private readonly language: Language,
  ) {
    const cell = (name: string) => row.querySelector(`[data-cell=${name}]`) as HTMLElement;
    this.#texts = Object.fromEntries(NAMES.map((name) => [name, textOf(cell(name))])) as Record<
      (typeof NAMES)[number],
      Text
    >;
    this.#spark = cell("spark");
    this.#button = cell("name").parentElement as HTMLElement;
  }

  paint(quote: Quote, at: number): void {
    this.write(quote, at);
    if (quote.direction !== 0 && this.#flashing === undefined && !stillness.matches) this.#flash(way(quote.direction));
  }

  /** On and off, as terminals do: a fade is a picture for every frame of it, which ten rows at a time cannot have. */
  #flash(direction: string): void {
    this.row.dataset.flash = direction;
    this.#flashing = setTimeout(() => {
      delete this.row.dataset.flash;
      this.#flashing = setTimeout(() => {
        this.#flashing = undefined;
      }, FLASH_MS); // a row in one colour says nothing
    }, FLASH_MS);
  }

  close(): void {
    clearTimeout(this.#flashing);
    delete this.row.dataset.flash;
  }

  write(quote: Quote, at = Number.POSITIVE_INFINITY): void {
    const { digits } = quote;
    const { change } = quote;
    if (this.#set("name", quote.name || quote.symbol)) this.#button.title = `${quote.name} ${quote.symbol}`.trim();
    this.#set("symbol", quote.name === "" || quote.name === quote.symbol ? "" : quote.symbol);
    this.#set("last", plain(quote.price, this.language, digits));
    this.#set("change", moved(change, this.language, digits));
    this.#set("percent", percent(quote.changePercent, this.language));
    this.#set("volume", short(quote.volume, this.language));
    const turned = way(change);
    if (turned !== this.#way) this.row.dataset.way = this.#way = turned;
    if (at - this.#drawnAt >= SPARK_EVERY_MS) {
      this.#drawnAt = at === Number.POSITIVE_INFINITY ? 0 : at;
      this.#spark.setAttribute("points", sparkPoints(quote));
    }
  }

  /** Returns whether it is another text. */
  #set(name: (typeof NAMES)[number], text: string): boolean {
    const node = this.#texts[name];
    if (node.data === text) return false;
    node.data = text;
    return true;
  }
}

const textOf = (cell: HTMLElement): Text => {
  if (cell.firstChild instanceof Text) return cell.firstChild;
  const text = document.createTextNode("");
  cell.append(text);
  return text;
};

const sparkPoints = (quote: Quote): string => {
  const closes = quote.bars[1].list.slice(-SPARK_BARS).map(({ close }) => close);
  const [low, high] = [Math.min(...closes), Math.max(...closes)];
  const step = SPARK_WIDTH / (SPARK_BARS - 1);
  const first = SPARK_WIDTH - (closes.length - 1) * step;
  const y = (close: number) =>
    high === low ? SPARK_HEIGHT / 2 : 2 + ((high - close) / (high - low)) * (SPARK_HEIGHT - 4);
  return closes.map((close, index) => `${(first + index * step).toFixed(1)},${y(close).toFixed(1)}`).join(" ");
};
