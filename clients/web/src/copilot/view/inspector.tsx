import { useEffect, useState } from "react";
import { Dialog } from "../../shell/dialog";
import { clock } from "../../shell/times";
import { tell } from "../../shell/toasts";
import { useLanguage, useWords } from "../../shell/words";
import { isObject } from "../data/answering";
import type { Sent } from "../data/database";
import type { Row } from "../data/kinds";
import type { Asked, Exchange, Outcome } from "../thread/asked";
import { type CopilotWords, WORDS } from "../words";
import { DataTable } from "./data-table";

const TONE: Record<Outcome, string> = { open: "info", sent: "good", denied: "warn", expired: "bad", failed: "bad" };

const kind = (exchange: Exchange, t: CopilotWords): string =>
  exchange.kind === "data" ? t.kindData : exchange.kind === "rows" ? t.kindRows(exchange.dataset ?? "") : t.kindPerson;

/** What was asked for beside the data set's name. */
const wished = ({ params = {}, question, kind: of }: Exchange, t: CopilotWords): string[] => {
  if (of === "person") return [question ?? ""];
  const { from, to, filters, columns, offset, limit } = params;
  const found: string[] = [];
  if (typeof from === "string") found.push(from === to ? from : `${from} ~ ${String(to)}`);
  if (isObject(filters))
    for (const [name, values] of Object.entries(filters))
      found.push(`${name} = ${Array.isArray(values) ? values.join(" / ") : String(values)}`);
  if (Array.isArray(columns)) found.push(t.columnsOnly(columns.join(", ")));
  if (typeof offset === "number" && typeof limit === "number") found.push(t.page(offset + 1, offset + limit));
  return found;
};

/** Every request of the server on the way to the answer, and exactly what was sent. */
export function Inspector({ asked, sent }: { asked: Asked; sent: (requestId: string) => Promise<Sent | undefined> }) {
  const t = useWords(WORDS);
  const [open, setOpen] = useState(false);
  const [looking, setLooking] = useState<Exchange | null>(null);
  const { requests, rows, bytes } = asked.total;
  return (
    <details className="copilot-inspector" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span>{t.inspect}</span>
        <span className="muted small number">{requests ? t.inspected(requests, rows, bytes) : t.nothingLeft}</span>
      </summary>
      {open && asked.exchanges.length > 0 && (
        <>
          {requests > asked.exchanges.length && <p className="small muted">{t.newest(asked.exchanges.length)}</p>}
          <ul className="plain copilot-exchanges">
            {asked.exchanges.map((exchange) => (
              <Exchanged key={exchange.requestId} exchange={exchange} onLook={() => setLooking(exchange)} />
            ))}
          </ul>
        </>
      )}
      {looking && <Looked exchange={looking} sent={sent} onClose={() => setLooking(null)} />}
    </details>
  );
}

function Exchanged({ exchange, onLook }: { exchange: Exchange; onLook: () => void }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const { outcome, count, bytes, left = [], fault, answer } = exchange;
  return (
    <li>
      <div className="copilot-exchange-what">
        <b className="wrap">{kind(exchange, t)}</b>
        <span className="muted small wrap">{wished(exchange, t).join(" · ")}</span>
        {answer !== undefined && outcome === "sent" && <span className="small wrap">“{answer}”</span>}
        {left.length > 0 && <span className="small copilot-warn wrap">{t.leftOut(left.join(", "))}</span>}
        {fault && <span className="small copilot-bad wrap">{fault}</span>}
      </div>
      <time className="muted small number" dateTime={new Date(exchange.at).toISOString()}>
        {clock(exchange.at, language, true)}
      </time>
      <span className="small number copilot-sent">
        {outcome === "sent" && exchange.kind === "rows" && t.rows(count ?? 0)}
        {outcome === "sent" && exchange.kind === "data" && t.sets(count ?? 0)}
        {outcome === "sent" && <span className="muted">{t.size(bytes ?? 0)}</span>}
      </span>
      <span className={`badge ${TONE[outcome]}`}>{outcome === "failed" ? t.failedToSend : t[outcome]}</span>
      {outcome === "sent" &&
        (exchange.kept ? (
          <button type="button" className="small" aria-label={`${t.look}: ${kind(exchange, t)}`} onClick={onLook}>
            {t.look}
          </button>
        ) : (
          <span className="muted small" title={t.notKept}>
            –
          </span>
        ))}
    </li>
  );
}

function Looked({
  exchange,
  sent,
  onClose,
}: {
  exchange: Exchange;
  sent: (requestId: string) => Promise<Sent | undefined>;
  onClose: () => void;
}) {
  const t = useWords(WORDS);
  const [payload, setPayload] = useState<unknown>(undefined);
  useEffect(() => {
    sent(exchange.requestId).then(
      (found) => setPayload(found?.payload ?? null),
      () => setPayload(null),
    );
  }, [exchange, sent]);
  const rows = isObject(payload) && Array.isArray(payload.data) ? (payload.data as Row[]) : null;
  const copy = () =>
    (navigator.clipboard?.writeText(JSON.stringify(payload)) ?? Promise.reject()).then(
      () => tell(t.copied, "good"),
      () => tell(t.notCopied, "bad"),
    );
  return (
    <Dialog title={t.lookAt(kind(exchange, t))} onClose={onClose}>
      <div className="copilot-wide stack">
        <p className="small muted wrap">{[...wished(exchange, t), t.size(exchange.bytes ?? 0)].join(" · ")}</p>
        {payload === null ? (
          <p className="note warn">{t.notKept}</p>
        ) : rows ? (
          <DataTable
            rows={rows}
            names={[...new Set(rows.slice(0, 100).flatMap((row) => Object.keys(row)))]}
            label={t.lookAt(kind(exchange, t))}
          />
        ) : (
          payload !== undefined && <pre className="copilot-json">{JSON.stringify(payload, null, 2)}</pre>
        )}
      </div>
      <footer>
        {payload != null && (
          <button type="button" onClick={() => void copy()}>
            {t.copy}
          </button>
        )}
        <button type="button" className="primary" onClick={onClose}>
          {t.close}
        </button>
      </footer>
    </Dialog>
  );
}
