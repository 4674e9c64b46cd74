import { type PointerEvent, useEffect, useRef, useState } from "react";
import { useWords } from "../../shell/words";
import { WORDS } from "../words";

export interface Point {
  readonly label: string;
  readonly value: number;
  readonly previous: number | null;
}

const HEIGHT = 170;
const LEFT = 64;
const RIGHT = 12;
const TOP = 26;
const BOTTOM = 22;

/** Round steps that hold all values, and 0. */
const ticksOf = (values: readonly number[]): number[] => {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const rough = (high - low || 1) / 3;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((each) => each * unit >= rough) ?? 10) * unit;
  const first = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step) - first + 1 }, (_, at) => (first + at) * step);
};

export function LineChart({
  points,
  what,
  amount,
}: {
  points: readonly Point[];
  what: string;
  amount: (value: number) => string;
}) {
  const t = useWords(WORDS);
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [over, setOver] = useState<number | null>(null);

  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry?.contentRect.width ?? 0)));
    if (frame.current) observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);

  const ticks = ticksOf(points.flatMap(({ value, previous }) => (previous === null ? [value] : [value, previous])));
  const low = ticks[0] ?? 0;
  const high = ticks.at(-1) ?? 1;
  const x = (at: number) => LEFT + ((width - LEFT - RIGHT) * at) / Math.max(1, points.length - 1);
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low || 1));
  const path = (of: (point: Point) => number | null) =>
    points
      .flatMap((point, at) => {
        const value = of(point);
        return value === null ? [] : [`${x(at).toFixed(1)},${y(value).toFixed(1)}`];
      })
      .join(" L");
  const line = path((point) => point.value);
  const before = path((point) => point.previous);
  const middle = Math.floor((points.length - 1) / 2);
  const marks = width > 420 && points.length > 4 ? [0, middle, points.length - 1] : [0, points.length - 1];
  const point = over === null ? points.at(-1) : points[over];
  const moved = (event: PointerEvent<SVGSVGElement>) => {
    const place = event.clientX - event.currentTarget.getBoundingClientRect().left;
    const at = Math.round(((place - LEFT) / (width - LEFT - RIGHT)) * (points.length - 1));
    setOver(Math.max(0, Math.min(points.length - 1, at)));
  };

  return (
    <div ref={frame} className="copilot-chart">
      {width > 0 && (
        <svg
          width={width}
          height={HEIGHT}
          role="img"
          aria-label={t.chart(what, points[0]?.label ?? "", points.at(-1)?.label ?? "")}
          onPointerMove={moved}
          onPointerLeave={() => setOver(null)}
        >
          {ticks.map((tick) => (
            <g key={tick}>
              <line className="copilot-grid" x1={LEFT} x2={width - RIGHT} y1={y(tick)} y2={y(tick)} />
              <text x={LEFT - 8} y={y(tick) + 4} textAnchor="end">
                {amount(tick)}
              </text>
            </g>
          ))}
          {marks.map((at) => (
            <text
              key={at}
              x={x(at)}
              y={HEIGHT - 5}
              textAnchor={at === 0 ? "start" : at === points.length - 1 ? "end" : "middle"}
            >
              {points[at]?.label}
            </text>
          ))}
          <path
            className="copilot-area"
            d={`M${x(0)},${y(Math.max(0, low))} L${line} L${x(points.length - 1)},${y(Math.max(0, low))} Z`}
          />
          {before && <path className="copilot-line copilot-line-before" d={`M${before}`} />}
          <path className="copilot-line" d={`M${line}`} />
          {point && over !== null && (
            <line className="copilot-cursor" x1={x(over)} x2={x(over)} y1={TOP} y2={HEIGHT - BOTTOM} />
          )}
          {point && <circle cx={x(over ?? points.length - 1)} cy={y(point.value)} r="4" />}
          {point && (
            <text className="copilot-readout" x={width - RIGHT} y={14} textAnchor="end">
              {point.label} · {amount(point.value)}
              {point.previous !== null && ` (${amount(point.previous)})`}
            </text>
          )}
        </svg>
      )}
    </div>
  );
}
