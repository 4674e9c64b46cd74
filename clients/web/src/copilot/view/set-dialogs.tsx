import { AtriumError } from "atrium-client";
import { type FormEvent, useEffect, useState } from "react";
import { Dialog } from "../../shell/dialog";
import { tellError } from "../../shell/toasts";
import { useWords } from "../../shell/words";
import type { DataSet } from "../data/database";
import type { Row } from "../data/kinds";
import { type DataSets, MOST_DESCRIPTION, MOST_NAME } from "../data/sets";
import { WORDS } from "../words";
import { DataTable } from "./data-table";

interface Props {
  sets: DataSets;
  set: DataSet;
  onClose: () => void;
}

export function LookAtSet({ sets, set, onClose }: Props) {
  const t = useWords(WORDS);
  const [rows, setRows] = useState<readonly Row[] | null>(null);
  useEffect(() => {
    sets.rows(set).then(setRows, tellError);
  }, [sets, set]);
  return (
    <Dialog title={set.name} onClose={onClose}>
      <div className="copilot-wide stack">
        <p className="small muted number">
          {t.rows(set.rows)} · {t.columns(set.columns.length)} · {t.size(set.bytes)}
        </p>
        {rows ? (
          <DataTable rows={rows} names={set.columns.map(({ name }) => name)} label={set.name} />
        ) : (
          <div className="copilot-data-table muted">{t.loading}</div>
        )}
      </div>
      <footer>
        <button type="button" className="primary" onClick={onClose}>
          {t.close}
        </button>
      </footer>
    </Dialog>
  );
}

export function EditSet({ sets, set, onClose }: Props) {
  const t = useWords(WORDS);
  const [fault, setFault] = useState("");
  const [deleting, setDeleting] = useState(false);
  const save = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const name = String(form.get("name")).trim();
    if (!name) return;
    sets.change(set.id, { name, description: String(form.get("description")).trim() }).then(onClose, (error) => {
      if (error instanceof AtriumError && error.code === "CONFLICT") setFault(t.nameTaken);
      else tellError(error);
    });
  };
  if (deleting) {
    return (
      <Dialog title={t.delete} onClose={onClose}>
        <p className="wrap">{t.deleteSure(set.name)}</p>
        <footer>
          <button type="button" onClick={() => setDeleting(false)}>
            {t.cancel}
          </button>
          <button type="button" className="danger" onClick={() => void sets.remove(set.id).then(onClose, tellError)}>
            {t.delete}
          </button>
        </footer>
      </Dialog>
    );
  }
  return (
    <Dialog title={t.editSet(set.name)} onClose={onClose}>
      <form className="stack" onSubmit={save}>
        <label>
          {t.name}
          <input
            name="name"
            aria-describedby="copilot-name-fault"
            required
            maxLength={MOST_NAME}
            defaultValue={set.name}
            autoComplete="off"
          />
        </label>
        <p id="copilot-name-fault" role="alert" className="small copilot-bad">
          {fault}
        </p>
        <label>
          {t.description}
          <textarea
            name="description"
            aria-describedby="copilot-about-hint"
            rows={3}
            maxLength={MOST_DESCRIPTION}
            defaultValue={set.description}
          />
        </label>
        <p id="copilot-about-hint" className="small muted">
          {t.descriptionHint}
        </p>
        <footer>
          <button type="button" className="danger push-left" onClick={() => setDeleting(true)}>
            {t.delete}
          </button>
          <button type="button" onClick={onClose}>
            {t.cancel}
          </button>
          <button type="submit" className="primary">
            {t.save}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
