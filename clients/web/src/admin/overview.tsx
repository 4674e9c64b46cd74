import { usePerson } from "../shell/identity";
import { clock } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { bytes, milliseconds, whole } from "./formats";
import { type Line, Plot } from "./plot";
import { usePolled } from "./polled";
import { useFigures } from "./series";
import { Standing } from "./standing";
import type { Alerts, Column, Figures, NamespaceColumns } from "./types";
import { WORDS } from "./words";

const NAMESPACES = ["/chat", "/trading", "/monitor", "/copilot"];
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4"];
const ALERTS_EVERY_MS = 5000;

const newest = (column: Column | undefined): number | null => column?.findLast((value) => value !== null) ?? null;
const total = (column: Column | undefined): number =>
  (column ?? []).reduce<number>((sum, value) => sum + (value ?? 0), 0);

export function Overview() {
  const t = useWords(WORDS);
  const whole_ = usePerson()?.tenant === null;
  const { figures, fault } = useFigures(whole_);
  const alerts = usePolled<Alerts>(whole_ ? "/api/admin/alerts" : null, ALERTS_EVERY_MS);
  if (!whole_) return <p className="note">{t.ofTenant}</p>;
  return (
    <>
      <Standing fault={fault} silent={figures?.silent} />
      <Tiles figures={figures} />
      <Plots figures={figures} />
      <AlertList alerts={alerts.value} />
    </>
  );
}

function Tiles({ figures }: { figures: Figures | null }) {
  const t = useWords(WORDS);
  const each = Object.values(figures?.namespaces ?? {});
  const sum = (of: (columns: NamespaceColumns) => number | null) =>
    figures ? whole(each.reduce((all, columns) => all + (of(columns) ?? 0), 0)) : "–";
  const slowest = Math.max(...each.map((columns) => newest(columns.ack_p99_ms) ?? 0), 0);
  const all = figures?.all ?? {};
  const tiles: [string, string][] = [
    [t.connected, sum((columns) => newest(columns.connections))],
    [t.eventsIn, sum((columns) => newest(columns.events_in))],
    [t.eventsOut, sum((columns) => newest(columns.events_out))],
    [t.ack, figures ? milliseconds(slowest) : "–"],
    [t.slow, whole(newest(all.behind))],
    [t.recovered, sum((columns) => total(columns.recoveries?.resumed))],
    [t.cpu, newest(all.cpu_percent) === null ? "–" : `${whole(newest(all.cpu_percent))} %`],
    [t.memory, bytes(newest(all.rss_bytes))],
  ];
  return (
    <div className="admin-tiles">
      {tiles.map(([name, value]) => (
        <div key={name} className="card figure">
          <b>{value}</b>
          <span>{name}</span>
        </div>
      ))}
    </div>
  );
}

function Plots({ figures }: { figures: Figures | null }) {
  const t = useWords(WORDS);
  const times = figures?.t ?? [];
  const by = (of: (columns: NamespaceColumns) => Column): Line[] =>
    NAMESPACES.map((name, index) => ({
      label: name,
      values: figures?.namespaces[name] ? of(figures.namespaces[name]) : [],
      colour: COLOURS[index] as string,
    }));
  const all = figures?.all ?? {};
  const plots: { title: string; unit: string; lines: Line[] }[] = [
    { title: t.rateIn, unit: t.perSecond, lines: by((columns) => columns.events_in) },
    { title: t.rateOut, unit: t.perSecond, lines: by((columns) => columns.events_out) },
    { title: t.ackPlot, unit: t.milliseconds, lines: by((columns) => columns.ack_p99_ms) },
    { title: t.writePlot, unit: t.milliseconds, lines: by((columns) => columns.write_p99_ms) },
    { title: t.connectionsPlot, unit: t.count, lines: by((columns) => columns.connections) },
    {
      title: t.trouble,
      unit: "",
      lines: [
        { label: t.behind, values: all.behind ?? [], colour: "--line-4" },
        { label: t.conflated, values: all.conflated ?? [], colour: "--line-2" },
        { label: t.dropped, values: all.dropped ?? [], colour: "--bad" },
      ],
    },
  ];
  return (
    <div className="admin-plots">
      {plots.map(({ title, unit, lines }) => (
        <Plot
          key={title}
          title={title}
          unit={unit}
          t={times}
          lines={lines}
          summary={lines.map(({ label, values }) => `${label} ${newest(values) ?? "–"}`).join(", ")}
        />
      ))}
    </div>
  );
}

const LOOKS = { info: "info", warning: "warn", critical: "bad" } as const;

function AlertList({ alerts }: { alerts: Alerts | null }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  return (
    <section className="card admin-alerts" aria-live="polite">
      <h2>{t.alerts}</h2>
      {alerts?.alerts.length === 0 && <p className="muted">{t.noAlerts}</p>}
      <ul className="plain">
        {alerts?.alerts.map((alert) => (
          <li key={alert.id + alert.since} data-state={alert.state}>
            <span className={`badge ${alert.state === "firing" ? LOOKS[alert.severity] : ""}`}>
              {t.alertKinds[alert.kind] ?? alert.kind}
            </span>
            <span className="wrap">
              {Object.entries(alert.details)
                .map(([name, value]) => `${name} ${value}`)
                .join(" · ") || (alert.kind in t.alertKinds ? "" : alert.text)}
            </span>
            {alert.count > 1 && <span className="small muted">{t.times(alert.count)}</span>}
            <span className="small muted push">
              {alert.node && <code>{alert.node}</code>}{" "}
              {alert.state === "firing"
                ? t.since(clock(alert.since, language))
                : t.until(clock(alert.until ?? alert.last_at, language))}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
