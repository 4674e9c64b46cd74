/** Lightweight Charts, as this page uses it: bars of one symbol, drawn as far as they changed. */
import {
  AreaSeries,
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  createChart,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type MouseEventHandler,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import { colour } from "../shell/theme";
import type { Language } from "../shell/words";
import type { Bar, Bars, Interval } from "./bars";
import { plain } from "./formats";

export type ChartKind = "candles" | "line";

const PRICES_ABOVE = 0.2; // of the height, for volumes
const SCROLLED_BACK = -2; // bars; a little is no wish to look back

type PriceSeries = ISeriesApi<"Candlestick"> | ISeriesApi<"Area">;

export class PriceChart {
  /** The bar under the crosshair. */
  pointed: Bar | null = null;
  readonly #chart: IChartApi;
  readonly #volumes: ISeriesApi<"Histogram">;
  #prices: PriceSeries | undefined;
  #kind: ChartKind | undefined;
  #interval: Interval | undefined;
  #digits: number | undefined;
  #bars: Bars | null = null;
  #generation = 0;
  #removed = 0;
  /** Bars that the library has. */
  #drawn = 0;
  #up = "";
  #down = "";
  readonly #points = new Set<() => void>();

  /** `onLive` is told whether it shows the newest bar, and so goes with it. */
  constructor(
    frame: HTMLElement,
    private readonly language: Language,
    onLive: (isLive: boolean) => void,
  ) {
    this.#chart = createChart(frame, {
      autoSize: true,
      layout: {
        attributionLogo: false, // it brings a style element, which the page's policy forbids: the link stands below
        fontFamily: getComputedStyle(document.body).fontFamily,
      },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.08, bottom: PRICES_ABOVE + 0.05 } },
      timeScale: {
        borderVisible: false,
        timeVisible: true,
        rightOffset: 4,
        barSpacing: 7,
        tickMarkFormatter: (time: Time) => this.#time(time),
      },
      localization: { locale: language, timeFormatter: (time: Time) => this.#time(time) },
    });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 1 - PRICES_ABOVE, bottom: 0 } });
    this.#chart.subscribeCrosshairMove(this.#point);
    const scale = this.#chart.timeScale();
    scale.subscribeVisibleLogicalRangeChange(() => onLive(this.#drawn === 0 || scale.scrollPosition() > SCROLLED_BACK));
  }

  /** The result ends it. */
  onPoint(listener: () => void): () => void {
    this.#points.add(listener);
    return () => this.#points.delete(listener);
  }

  show(kind: ChartKind, interval: Interval): void {
    this.#chart.timeScale().applyOptions({ secondsVisible: interval < 60 });
    this.#interval = interval;
    if (kind === this.#kind) return;
    this.#kind = kind;
    if (this.#prices !== undefined) this.#chart.removeSeries(this.#prices);
    this.#prices =
      kind === "candles"
        ? this.#chart.addSeries(CandlestickSeries, {})
        : this.#chart.addSeries(AreaSeries, { lineWidth: 2 });
    this.#bars = null;
    this.#digits = undefined;
    this.colour();
  }

  /** As the theme and the language have it now. */
  colour(): void {
    const [text, line, accent] = [colour("--muted"), colour("--line"), colour("--accent")];
    [this.#up, this.#down] = [colour("--trading-up"), colour("--trading-down")];
    this.#chart.applyOptions({
      layout: { background: { type: ColorType.Solid, color: colour("--surface") }, textColor: text },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      crosshair: {
        vertLine: { color: text, labelBackgroundColor: accent },
        horzLine: { color: text, labelBackgroundColor: accent },
      },
    });
    if (this.#kind === "candles") {
      this.#prices?.applyOptions({
        upColor: this.#up,
        downColor: this.#down,
        wickUpColor: this.#up,
        wickDownColor: this.#down,
        borderVisible: false,
      });
    } else {
      this.#prices?.applyOptions({
        lineColor: accent,
        topColor: faint(accent, 0.28),
        bottomColor: faint(accent, 0.02),
      });
    }
    const bars = this.#bars;
    this.#bars = null; // each volume has its own colour
    if (bars !== null && this.#digits !== undefined) this.draw(bars, this.#digits);
  }

  /** To be called when the bars changed. */
  draw(bars: Bars | null, digits: number): void {
    if (digits !== this.#digits && this.#prices !== undefined) {
      this.#digits = digits;
      this.#prices.applyOptions({
        priceFormat: {
          type: "custom",
          minMove: 10 ** -digits,
          formatter: (price: number) => plain(price, this.language, digits),
        },
      });
    }
    if (bars === null || bars !== this.#bars || bars.generation !== this.#generation) {
      const another = bars?.interval !== this.#bars?.interval || this.#bars !== null;
      this.#all(bars);
      if (another) this.follow();
    } else if (bars.removed !== this.#removed) {
      const gone = bars.removed - this.#removed;
      const scale = this.#chart.timeScale();
      const range = scale.getVisibleLogicalRange();
      this.#all(bars);
      if (range !== null) scale.setVisibleLogicalRange({ from: range.from - gone, to: range.to - gone });
    } else {
      for (const bar of bars.list.slice(Math.max(0, this.#drawn - 1))) {
        this.#prices?.update(this.#price(bar));
        this.#volumes.update(this.#volume(bar));
      }
      this.#drawn = bars.list.length;
    }
  }

  /** To the newest bar, and on with it. */
  follow(): void {
    this.#chart.timeScale().scrollToRealTime();
  }

  close(): void {
    this.#points.clear();
    this.#chart.remove();
  }

  #all(bars: Bars | null): void {
    const list = bars?.list ?? [];
    this.#prices?.setData(list.map((bar) => this.#price(bar)));
    this.#volumes.setData(list.map((bar) => this.#volume(bar)));
    this.#bars = bars;
    this.#generation = bars?.generation ?? 0;
    this.#removed = bars?.removed ?? 0;
    this.#drawn = list.length;
    this.pointed = null;
  }

  /** Both kinds take from it what they know. */
  #price({ time, open, high, low, close }: Bar) {
    return { time: time as UTCTimestamp, open, high, low, close, value: close };
  }

  #volume({ time, open, close, volume }: Bar) {
    return { time: time as UTCTimestamp, value: volume, color: faint(close < open ? this.#down : this.#up, 0.35) };
  }

  #point: MouseEventHandler<Time> = ({ logical }) => {
    const found = logical === undefined || this.#bars === null ? undefined : this.#bars.list[Math.round(logical)];
    if (found === undefined && this.pointed === null) return;
    this.pointed = found ?? null;
    for (const listener of this.#points) listener();
  };

  /** The library knows UTC only; people have clocks. */
  #time(time: Time): string {
    return new Date((time as number) * 1000).toLocaleTimeString(this.language, {
      hour: "2-digit",
      minute: "2-digit",
      ...((this.#interval ?? 60) < 60 && { second: "2-digit" }),
      hourCycle: "h23",
    });
  }
}

/** Of a colour as `getComputedStyle` writes it. */
const faint = (of: string, opacity: number): string => {
  const [red, green, blue] = of.match(/[\d.]+/g) ?? [];
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
};
