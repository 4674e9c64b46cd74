import { type FormEvent, useState } from "react";
import { request } from "../shell/http";
import { dayAndClock } from "../shell/times";
import { tellError } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { query, usePolled, useSettled } from "./polled";
import { Record } from "./record";
import type { Connections, Inspected, Verdict } from "./types";
import { WORDS } from "./words";

const EVERY_MS = 10_000;
const GOOD = new Set(["sent", "replayed"]);

/** "Why did this connection miss that message?": a verdict, and what it rests on. */
export function Missed({ fields }: { fields: URLSearchParams }) {
  const t = useWords(WORDS);
  const [connection, setConnection] = useState(fields.get("connection") ?? "");
  const [room, setRoom] = useState(fields.get("room") ?? "");
  const [by, setBy] = useState<"seq" | "at">("seq");
  const [verdict, setVerdict] = useState<Verdict | null>(null);
  const id = useSettled(connection.trim());
  const found = usePolled<Inspected>(id ? `/api/admin/connections/${encodeURIComponent(id)}` : null, EVERY_MS);
  const some = usePolled<Connections>(
    `/api/admin/connections${query({ sort: "connected_at", descending: true, limit: 100 })}`,
    EVERY_MS,
  );

  const submitted = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const at = String(form.get("at") ?? "");
    const asked = by === "seq" ? { seq: String(form.get("seq")) } : { at: at && new Date(at).toISOString() };
    setVerdict(null);
    request<Verdict>(
      `/api/admin/connections/${encodeURIComponent(id)}/missed${query({ room: room.trim(), ...asked })}`,
    ).then(setVerdict, tellError);
  };

  return (
    <div className="stack">
      <p className="muted">{t.missedLead}</p>
      <form className="card admin-form" onSubmit={submitted}>
        <label>
          {t.connectionId}
          <input
            value={connection}
            onChange={(event) => setConnection(event.target.value)}
            required
            maxLength={200}
            list="admin-connections"
            spellCheck={false}
            className="mono"
          />
        </label>
        <datalist id="admin-connections">
          {some.value?.connections.map((each) => (
            <option key={each.connection_id} value={each.connection_id} label={`${each.user_id} ${each.namespace}`} />
          ))}
        </datalist>
        <label>
          {t.room}
          <input
            value={room}
            onChange={(event) => setRoom(event.target.value)}
            required
            maxLength={500}
            list="admin-rooms"
            spellCheck={false}
            className="mono"
          />
        </label>
        <datalist id="admin-rooms">
          {found.value?.rooms.map((each) => (
            <option key={each.room} value={each.room} label={`${each.kind} ${each.name}`} />
          ))}
        </datalist>
        <div className="row">
          <label>
            {t.by}
            <select value={by} onChange={(event) => setBy(event.target.value as "seq" | "at")}>
              <option value="seq">{t.seq}</option>
              <option value="at">{t.at}</option>
            </select>
          </label>
          {by === "seq" ? (
            <label>
              {t.seq}
              <input name="seq" type="number" min={1} required />
            </label>
          ) : (
            <label>
              {t.at}
              <input name="at" type="datetime-local" step={1} required />
            </label>
          )}
        </div>
        <footer>
          <button type="submit" className="primary">
            {t.ask}
          </button>
        </footer>
      </form>
      <div aria-live="polite">{verdict && <Judged verdict={verdict} />}</div>
    </div>
  );
}

function Judged({ verdict }: { verdict: Verdict }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const told = t.verdictTexts[verdict.code]; // the server's own is in English
  const look = GOOD.has(verdict.code) ? "good" : verdict.code === "unknown" ? "warn" : "bad";
  return (
    <section className="card stack">
      <h2 className="row">
        <span className={`badge ${look}`}>{t.verdicts[verdict.code] ?? verdict.code}</span>
        {verdict.message && (
          <span className="small muted">
            <code>{verdict.message.event}</code> {verdict.message.seq !== null && `#${verdict.message.seq}`}{" "}
            {verdict.message.at && dayAndClock(verdict.message.at, language)}
          </span>
        )}
      </h2>
      {told ? <p>{told}</p> : <p lang="en">{verdict.text}</p>}
      {verdict.messages && verdict.messages.length > 0 && (
        <>
          <h3>{t.messagesThen}</h3>
          <ul className="plain">
            {verdict.messages.map(({ message, code }, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: an answer that never changes
              <li key={index} className="row small">
                <code>{message.event}</code> {message.seq !== null && `#${message.seq}`}{" "}
                <span className={`badge ${GOOD.has(code) ? "good" : "warn"}`}>{t.verdicts[code] ?? code}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      {verdict.evidence.length > 0 && (
        <>
          <h3>{t.evidence}</h3>
          <Record entries={verdict.evidence} />
        </>
      )}
    </section>
  );
}
