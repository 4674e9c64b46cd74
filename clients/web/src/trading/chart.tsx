import { useEffect, useRef, useState } from "react";
import { useDark } from "../shell/theme";
import { useLanguage, useWords } from "../shell/words";
import { type Bar, INTERVALS, type Interval } from "./bars";
import { Choice } from "./choice";
import type { Desk } from "./desk";
import { moved, NONE, percent, plain, short, way } from "./formats";
import { type ChartKind, PriceChart } from "./price-chart";
import { WORDS } from "./words";

const LICENCE_URL = "https://www.tradingview.com/";

/** The chart of one symbol, by bars that this page built from ticks since it was opened. */
export function Chart({ desk, symbol }: { desk: Desk; symbol: string | null }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const dark = useDark();
  const [kind, setKind] = useState<ChartKind>("candles");
  const [interval, setInterval] = useState<Interval>(1);
  const [isLive, setLive] = useState(true);
  const frame = useRef<HTMLDivElement>(null);
  const head = useRef<HTMLElement>(null);
  const legend = useRef<HTMLParagraphElement>(null);
  const chart = useRef<PriceChart | null>(null);

  useEffect(() => {
    if (frame.current === null) return;
    const opened = new PriceChart(frame.current, language, setLive);
    chart.current = opened;
    return () => {
      chart.current = null;
      opened.close();
    };
  }, [language]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: colours are read from the styles, which these change
  useEffect(() => chart.current?.colour(), [dark, language]);

  useEffect(() => {
    const drawn = chart.current;
    if (drawn === null) return;
    drawn.show(kind, interval);
    const write = (bar: Bar | null, digits: number) => {
      if (legend.current === null) return;
      const values = bar && [
        `${t.open}\u00a0${plain(bar.open, language, digits)}`,
        `${t.high}\u00a0${plain(bar.high, language, digits)}`,
        `${t.low}\u00a0${plain(bar.low, language, digits)}`,
        `${t.close}\u00a0${plain(bar.close, language, digits)}`,
        `${t.amount}\u00a0${short(bar.volume, language)}`,
      ];
      const text = values?.join("  ") ?? "";
      if (legend.current.textContent !== text) legend.current.textContent = text;
    };
    const draw = () => {
      const quote = symbol === null ? undefined : desk.market.quote(symbol);
      const bars = quote?.bars[interval] ?? null;
      drawn.draw(bars, quote?.digits ?? 0);
      write(drawn.pointed ?? bars?.list.at(-1) ?? null, quote?.digits ?? 0);
      if (head.current !== null) {
        const parts = {
          name: quote?.name || symbol || NONE,
          last: quote === undefined ? NONE : plain(quote.price, language, quote.digits),
          change: quote === undefined ? "" : moved(quote.change, language, quote.digits),
          percent: quote === undefined ? "" : percent(quote.changePercent, language),
        };
        for (const [name, text] of Object.entries(parts)) {
          const cell = head.current.querySelector(`[data-cell=${name}]`);
          if (cell === null || cell.textContent === text) continue;
          cell.textContent = text;
          if (name === "name") cell.setAttribute("title", text);
        }
        head.current.dataset.way = way(quote?.change ?? null);
      }
    };
    draw();
    const stops = [drawn.onPoint(draw), symbol === null ? () => {} : desk.painted(symbol, draw)];
    return () => {
      for (const stop of stops) stop();
    };
  }, [desk, symbol, kind, interval, language, t]);

  return (
    <section className="card trading-panel trading-chart" aria-label={t.chartOf(symbol ?? "")}>
      <header ref={head} className="trading-panel-head trading-chart-head">
        <h2 className="clip" data-cell="name">
          {NONE}
        </h2>
        <b className="number" data-cell="last" />
        <span className="number trading-way" data-cell="change" />
        <span className="number trading-way" data-cell="percent" />
      </header>
      <div className="trading-chart-tools">
        <Choice
          label={t.kind}
          choices={["candles", "line"] as const}
          chosen={kind}
          onChoose={setKind}
          word={(each) => t[each]}
        />
        <Choice label={t.interval} choices={INTERVALS} chosen={interval} onChoose={setInterval} word={t.seconds} />
        <p ref={legend} className="small muted number trading-legend" />
      </div>
      <div className="trading-canvas" role="img" aria-label={t.chartOf(symbol ?? "")}>
        <div ref={frame} className="trading-canvas-frame" />
        {symbol === null && <p className="empty trading-canvas-empty">{t.noChart}</p>}
        <button type="button" className="small trading-live" hidden={isLive} onClick={() => chart.current?.follow()}>
          {t.live} <span aria-hidden="true">→</span>
        </button>
      </div>
      <p className="small muted trading-licence">
        {t.chartsBy}{" "}
        <a href={LICENCE_URL} target="_blank" rel="noreferrer" title={t.notice}>
          TradingView Lightweight Charts™
        </a>
      </p>
    </section>
  );
}
