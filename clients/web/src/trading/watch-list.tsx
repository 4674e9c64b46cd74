// biome-ignore-all lint/a11y/useSemanticElements: a virtualised table scrolls by itself, which no <table> does
// biome-ignore-all lint/a11y/useFocusableInteractive: what is to be focused in it are its buttons
import { type FormEvent, type KeyboardEvent, memo, useEffect, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";
import { type Language, useLanguage, useWords } from "../shell/words";
import type { Desk } from "./desk";
import type { Market } from "./market";
import { QuoteRow } from "./quote-row";
import type { Watched } from "./watched";
import { WORDS } from "./words";

const COLUMNS = ["symbol", "last", "change", "percent", "volume"] as const;
type Column = (typeof COLUMNS)[number];

interface Order {
  readonly column: Column;
  readonly rising: boolean;
}

const SORT_MS = 1000;

interface Props {
  readonly desk: Desk;
  readonly symbols: readonly string[];
  readonly watched: Watched;
  readonly chosen: string | null;
  readonly onChoose: (symbol: string) => void;
  readonly onAll: (all: boolean) => void;
  readonly onAdd: (text: string) => boolean;
  readonly onRemove: (symbol: string) => void;
}

export function WatchList({ desk, symbols, watched, chosen, onChoose, onAll, onAdd, onRemove }: Props) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [order, setOrder] = useState<Order | null>(null);
  const held = useRef(false);
  const list = useRef<VListHandle>(null);
  const table = useRef<HTMLDivElement>(null);
  const shown = useSorted(desk.market, symbols, order, held, language);
  const starred = new Set(watched.symbols);

  const submitted = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    if (onAdd(String(new FormData(form).get("symbol")))) form.reset();
  };
  const sort = (column: Column) =>
    setOrder((before) => {
      const first = column === "symbol";
      if (before?.column !== column) return { column, rising: first };
      return before.rising === first ? { column, rising: !first } : null;
    });
  const pressed = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || chosen === null) return;
    event.preventDefault();
    const at = Math.min(Math.max(shown.indexOf(chosen) + step, 0), shown.length - 1);
    const next = shown[at];
    if (next === undefined) return;
    onChoose(next);
    list.current?.scrollToIndex(at, { align: "nearest" });
    requestAnimationFrame(() => table.current?.querySelector<HTMLElement>("[aria-current=true]")?.focus());
  };

  return (
    <section className="card trading-panel trading-watch" aria-labelledby="trading-watch">
      <header className="trading-panel-head">
        <h2 id="trading-watch">{t.watchList}</h2>
        <label className="inline push small" title={t.allWhy}>
          <input type="checkbox" checked={watched.all} onChange={(event) => onAll(event.currentTarget.checked)} />
          {t.all}
        </label>
      </header>
      <form className="trading-add" onSubmit={submitted}>
        <input
          name="symbol"
          aria-label={t.addLabel}
          placeholder={t.addHint}
          maxLength={120}
          autoComplete="off"
          required
        />
        <button type="submit">{t.add}</button>
      </form>
      <div
        ref={table}
        role="table"
        aria-labelledby="trading-watch"
        aria-rowcount={shown.length + 1}
        className="trading-quotes"
        onKeyDown={pressed}
        onPointerEnter={() => {
          held.current = true;
        }}
        onPointerLeave={() => {
          held.current = false;
        }}
      >
        <div role="row" className="trading-quote trading-quote-head" tabIndex={-1}>
          <span role="columnheader">
            <span className="quiet">{t.watchList}</span>
          </span>
          {COLUMNS.map((column) => (
            <span
              key={column}
              role="columnheader"
              className={`trading-${column}`}
              aria-sort={order?.column === column ? (order.rising ? "ascending" : "descending") : "none"}
            >
              <button type="button" title={column === "volume" ? t.volumeWhy : undefined} onClick={() => sort(column)}>
                {t[column]}
                <i aria-hidden="true">{order?.column === column ? (order.rising ? "↑" : "↓") : ""}</i>
              </button>
            </span>
          ))}
          <span role="columnheader" className="trading-spark">
            {t.trend}
          </span>
        </div>
        {shown.length === 0 ? (
          <p className="empty">{watched.all ? t.noTicks : t.noSymbols}</p>
        ) : (
          <VList ref={list} className="trading-rows" role="rowgroup" tabIndex={0}>
            {shown.map((symbol, index) => (
              <Row
                key={symbol}
                index={index}
                desk={desk}
                symbol={symbol}
                isChosen={symbol === chosen}
                isStarred={starred.has(symbol)}
                onChoose={onChoose}
                onStar={starred.has(symbol) ? onRemove : onAdd}
              />
            ))}
          </VList>
        )}
      </div>
    </section>
  );
}

const Row = memo(QuoteRow);

/** By a column that changes the rows change places once a second, and not under the pointer. */
function useSorted(
  market: Market,
  symbols: readonly string[],
  order: Order | null,
  held: { readonly current: boolean },
  language: Language,
): readonly string[] {
  const [shown, setShown] = useState(symbols);
  useEffect(() => {
    const sort = () => {
      const next = sorted(market, symbols, order, language);
      setShown((before) =>
        before.length === next.length && before.every((each, index) => each === next[index]) ? before : next,
      );
    };
    sort();
    if (order === null || order.column === "symbol") return;
    const timer = setInterval(() => {
      if (!held.current) sort();
    }, SORT_MS);
    return () => clearInterval(timer);
  }, [market, symbols, order, held, language]);
  return shown;
}

function sorted(
  market: Market,
  symbols: readonly string[],
  order: Order | null,
  language: Language,
): readonly string[] {
  if (order === null) return symbols;
  const { column, rising } = order;
  const sign = rising ? 1 : -1;
  if (column === "symbol") {
    const label = (symbol: string) => market.quote(symbol)?.name || symbol;
    return symbols.toSorted((one, other) => sign * label(one).localeCompare(label(other), language));
  }
  const value = (symbol: string): number | null => {
    const quote = market.quote(symbol);
    if (quote === undefined) return null;
    if (column === "last") return quote.price;
    if (column === "volume") return quote.volume;
    return column === "change" ? quote.change : quote.changePercent;
  };
  return symbols.toSorted((one, other) => {
    const [first, second] = [value(one), value(other)];
    if (first === null || second === null) return Number(first === null) - Number(second === null); // last, either way
    return sign * (first - second);
  });
}
