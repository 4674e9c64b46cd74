import { type FormEvent, useState } from "react";
import { useAbout } from "../shell/about";
import { Dialog } from "../shell/dialog";
import { request } from "../shell/http";
import { tell, tellError } from "../shell/toasts";
import { useWords } from "../shell/words";
import type { Silent } from "./types";
import { WORDS } from "./words";

interface Wanted {
  readonly namespace: string;
  readonly room?: string;
  readonly event: string;
  readonly data: unknown;
}

export function Broadcast() {
  const t = useWords(WORDS);
  const about = useAbout();
  const [fault, setFault] = useState("");
  const [wanted, setWanted] = useState<Wanted | null>(null);

  const submitted = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const room = String(form.get("room")).trim();
    try {
      const data: unknown = JSON.parse(String(form.get("data")));
      if (typeof data !== "object" || data === null || Array.isArray(data)) throw new TypeError();
      setFault("");
      setWanted({
        namespace: String(form.get("namespace")),
        ...(room && { room }),
        event: String(form.get("event")).trim(),
        data,
      });
    } catch {
      setFault(t.notObject);
    }
  };
  const send = () => {
    void request<{ members: number } & Silent>("/api/admin/broadcast", { body: wanted }).then(({ members, silent }) => {
      tell(t.sent(members), "good");
      if (silent.length > 0) tell(t.uncounted(silent.join(", ")));
    }, tellError);
    setWanted(null);
  };

  return (
    <>
      <form className="card admin-form" onSubmit={submitted}>
        <label>
          {t.namespace}
          <select name="namespace">
            {about?.namespaces.map((each) => (
              <option key={each.path}>{each.path}</option>
            ))}
          </select>
        </label>
        <label>
          {t.room}
          <input name="room" maxLength={500} spellCheck={false} className="mono" placeholder={t.everybody} />
        </label>
        <label>
          {t.event}
          <input name="event" required maxLength={100} spellCheck={false} className="mono" defaultValue="maintenance" />
        </label>
        <label>
          {t.data}
          <textarea
            name="data"
            required
            rows={5}
            spellCheck={false}
            className="mono"
            defaultValue={'{\n  "message": ""\n}'}
            aria-invalid={fault !== ""}
            aria-describedby="admin-fault"
          />
          <span id="admin-fault" role="alert" className="small">
            {fault}
          </span>
        </label>
        <footer>
          <button type="submit" className="primary">
            {t.send}
          </button>
        </footer>
      </form>
      {wanted && (
        <Dialog title={t.broadcast} onClose={() => setWanted(null)}>
          <p className="wrap">{t.sendSure(wanted.event, wanted.room ?? t.everyone(wanted.namespace))}</p>
          <footer>
            <button type="button" onClick={() => setWanted(null)}>
              {t.cancel}
            </button>
            <button type="button" className="primary" onClick={send}>
              {t.send}
            </button>
          </footer>
        </Dialog>
      )}
    </>
  );
}
