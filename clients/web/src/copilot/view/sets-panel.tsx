import { AtriumError } from "atrium-client";
import { type DragEvent, useRef, useState, useSyncExternalStore } from "react";
import { tell } from "../../shell/toasts";
import { useWords } from "../../shell/words";
import type { DataSet } from "../data/database";
import { ImportFault, MOST_COLUMNS, MOST_FILE_BYTES, MOST_ROWS, readFile } from "../data/importing";
import { type DataSets, MOST_SETS } from "../data/sets";
import { explainImport } from "../faults";
import { asksMe } from "../thread/consent";
import { type CopilotWords, WORDS } from "../words";
import { EditSet, LookAtSet } from "./set-dialogs";

const explain = (error: unknown, t: CopilotWords): string => {
  if (error instanceof ImportFault) return explainImport(error, t);
  if (error instanceof AtriumError && error.code === "LIMIT_EXCEEDED") return t.tooManySets(MOST_SETS);
  if (error instanceof DOMException && error.name === "QuotaExceededError") return t.noRoom;
  return t.faultOther(error instanceof Error ? error.message : String(error), "IMPORT");
};

export function SetsPanel({ sets }: { sets: DataSets }) {
  const t = useWords(WORDS);
  const found = useSyncExternalStore(sets.subscribe, sets.snapshot) ?? [];
  const consent = useSyncExternalStore(asksMe.subscribe, () => asksMe.value);
  const [looking, setLooking] = useState<DataSet | null>(null);
  const [editing, setEditing] = useState<DataSet | null>(null);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);

  const take = async (file: File | undefined) => {
    if (file === undefined || busy) return;
    setBusy(true);
    setFault("");
    try {
      const { name, names, rows, clipped } = await readFile(file);
      const set = await sets.add({ name, description: "", names, rows });
      tell(t.imported(set.name, set.rows), "good");
      if (clipped) tell(t.clipped(clipped));
      setEditing(set);
    } catch (error) {
      setFault(explain(error, t));
    } finally {
      setBusy(false);
    }
  };
  const dropped = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    void take(event.dataTransfer.files[0]);
  };

  return (
    <aside
      className="copilot-data"
      aria-labelledby="copilot-data"
      data-over={over || undefined}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={dropped}
    >
      <div className="row">
        <h2 id="copilot-data">{t.data}</h2>
        <span className="badge">{found.length}</span>
      </div>
      <div className="stack">
        <button type="button" disabled={busy} onClick={() => input.current?.click()}>
          {busy ? t.importing : t.import}
        </button>
        <input
          ref={input}
          type="file"
          hidden
          aria-label={t.import}
          accept=".csv,.tsv,.txt,.json,text/csv,application/json"
          onChange={(event) => {
            void take(event.target.files?.[0]);
            event.target.value = "";
          }}
        />
        <p className="small muted">
          {over ? t.drop : t.importHint(MOST_FILE_BYTES / 1024 / 1024, MOST_ROWS, MOST_COLUMNS)}
        </p>
        {fault && (
          <p className="note bad wrap" role="alert">
            {fault}
          </p>
        )}
      </div>
      <ul className="plain copilot-sets">
        {found.map((set) => (
          <li key={set.id} className="card" data-offered={set.offered}>
            <div className="copilot-set-head">
              <button
                type="button"
                className="bare copilot-set-name"
                title={set.name}
                aria-label={t.openSet(set.name)}
                onClick={() => setLooking(set)}
              >
                <span className="clip">{set.name}</span>
              </button>
              {set.sample !== null && <span className="badge info">{t.sample}</span>}
              <button
                type="button"
                className="bare small push"
                aria-label={t.editSet(set.name)}
                onClick={() => setEditing(set)}
              >
                {t.edit}
              </button>
            </div>
            {set.description && <p className="small muted wrap copilot-set-about">{set.description}</p>}
            <p className="small muted number">
              {t.rows(set.rows)} · {t.columns(set.columns.length)} · {t.size(set.bytes)}
            </p>
            <label className="inline small">
              <input
                type="checkbox"
                aria-label={t.offer(set.name)}
                checked={set.offered}
                onChange={(event) => void sets.change(set.id, { offered: event.target.checked })}
              />
              {t.offered}
            </label>
          </li>
        ))}
      </ul>
      {!found.length && <p className="empty">{t.noSets}</p>}
      {!found.some((set) => set.sample !== null) && (
        <button type="button" className="small" onClick={() => void sets.restore()}>
          {t.restore}
        </button>
      )}
      <div className="copilot-consent">
        <label className="inline">
          <input
            type="checkbox"
            checked={consent === "ask"}
            onChange={(event) => asksMe.set(event.target.checked ? "ask" : "send")}
          />
          {t.consent}
        </label>
        <p className="small muted">{t.consentHint}</p>
      </div>
      {looking && <LookAtSet sets={sets} set={looking} onClose={() => setLooking(null)} />}
      {editing && <EditSet sets={sets} set={editing} onClose={() => setEditing(null)} />}
    </aside>
  );
}
