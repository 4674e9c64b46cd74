import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "react";
import type uPlot from "uplot";
import { colour, useDark } from "../shell/theme";
import { clock } from "../shell/times";
import { useLanguage } from "../shell/words";
import type { Column } from "./types";

export interface Line {
  readonly label: string;
  readonly values: Column;
  readonly colour: string; // a name of base.css or admin.css, such as `--accent`
  readonly dashed?: boolean;
}

const HEIGHT = 170;

/** Lines over time, by uPlot, which is loaded when the first is drawn. `summary` is what it says to who cannot see it. */
export function Plot({
  title,
  unit,
  summary,
  t,
  lines,
}: {
  title: string;
  unit: string;
  summary: string;
  t: readonly number[];
  lines: readonly Line[];
}) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const dark = useDark();
  const [language] = useLanguage();
  const names = lines.map(({ label, colour, dashed }) => `${label}|${colour}|${dashed}`).join();
  const data = useRef<uPlot.AlignedData>([[]]);
  data.current = [t as number[], ...lines.map(({ values }) => values as (number | null)[])];

  // biome-ignore lint/correctness/useExhaustiveDependencies: made anew for other lines or colours, not for other values
  useEffect(() => {
    const drawn = frame.current;
    if (!drawn) return;
    let ended = false;
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: drawn.clientWidth, height: HEIGHT }));
    void import("uplot").then(({ default: Plot }) => {
      if (ended) return;
      const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
      plot.current = new Plot(
        {
          width: drawn.clientWidth,
          height: HEIGHT,
          cursor: { sync: { key: "admin" }, y: false },
          legend: { live: false },
          scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] } },
          axes: [
            { ...axis, space: 70, values: (_, splits) => splits.map((at) => clock(at * 1000, language, true)) },
            { ...axis, size: 54 },
          ],
          series: [
            {},
            ...lines.map((line) => ({
              label: line.label,
              stroke: colour(line.colour),
              width: 1.5,
              points: { show: false },
              ...(line.dashed && { dash: [4, 4] }),
            })),
          ],
        },
        data.current,
        drawn,
      );
      resized.observe(drawn);
    });
    return () => {
      ended = true;
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [dark, language, names]);

  useEffect(() => {
    plot.current?.setData(data.current);
  });

  return (
    <figure className="card admin-plot">
      <figcaption className="row">
        <h2 className="admin-plot-title">{title}</h2>
        <span className="muted small push">{unit}</span>
      </figcaption>
      <div ref={frame} role="img" aria-label={`${title}: ${summary}`} className="admin-plot-frame" />
    </figure>
  );
}
