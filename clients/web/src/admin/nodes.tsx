import { usePerson } from "../shell/identity";
import { dayAndClock, span } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { bytes, milliseconds, whole } from "./formats";
import { query, usePolled } from "./polled";
import { Standing } from "./standing";
import type { Nodes as Found, NodeFigures } from "./types";
import { WORDS } from "./words";

const EVERY_MS = 2000;

export function Nodes() {
  const t = useWords(WORDS);
  const everything = usePerson()?.tenant === null;
  const { value, fault } = usePolled<Found>(everything ? "/api/admin/nodes" : null, EVERY_MS);
  if (!everything) return <p className="note">{t.ofTenant}</p>;
  return (
    <>
      <Standing fault={fault} silent={value?.silent} />
      <div className="admin-plots">
        {value?.nodes.map((each) => (
          <NodeCard key={each.node} node={each} />
        ))}
      </div>
    </>
  );
}

function NodeCard({ node }: { node: NodeFigures }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const all = Object.values(node.connections).reduce((sum, count) => sum + count, 0);
  const facts: [string, string][] = [
    [t.started, `${dayAndClock(node.started_at, language)} (${span(node.uptime_s * 1000, language)})`],
    [t.version, `${node.version} · pid ${node.pid}`],
    [
      t.connections,
      `${whole(all)} / ${whole(node.max_connections)} · ${Object.entries(node.connections)
        .map(([path, count]) => `${path} ${count}`)
        .join(" · ")}`,
    ],
    [t.rooms, whole(node.rooms)],
    [t.eventsIn, whole(node.rates.events_in)],
    [t.eventsOut, whole(node.rates.events_out)],
    [t.cpu, node.process.cpu_percent === null ? "–" : `${node.process.cpu_percent.toFixed(1)} %`],
    [t.memory, bytes(node.process.rss_bytes)],
    [t.lag, milliseconds(node.process.loop_lag_peak_ms)],
    [t.files, whole(node.process.open_files)],
    [
      t.redis,
      node.redis.state === "none"
        ? "–"
        : `${node.redis.state}${node.redis.held ? ` · ${t.held} ${node.redis.held}` : ""}`,
    ],
  ];
  return (
    <section className="card stack">
      <h2 className="row">
        <a href={`#connections${query({ node: node.node })}`}>
          <code>{node.node || "Atrium"}</code>
        </a>
        {node.this && <span className="badge info">{t.this}</span>}
        {node.draining && <span className="badge warn">{t.draining}</span>}
        {node.redis.state === "lost" && <span className="badge bad">Redis</span>}
      </h2>
      <dl className="admin-facts">
        {facts.map(([name, told]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="number">{told}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
