/** What people do about an alarm, and what they are told when it cannot be done. */
import { AtriumError, type EquipmentAlarm } from "atrium-client";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { Dialog } from "../shell/dialog";
import { usePerson } from "../shell/identity";
import { SignIn } from "../shell/sign-in";
import { span } from "../shell/times";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import type { Plant } from "./plant";
import { type MonitorWords, WORDS } from "./words";

export type Answer = "acknowledge" | "shelve" | "unshelve";

export interface Answering {
  /** At once, or, with `ask`, after the person said more. */
  readonly answer: (what: Answer, alarm: EquipmentAlarm, ask?: boolean) => void;
  /** To be drawn somewhere. */
  readonly dialog: ReactNode;
}

type Open = { what: Answer; alarm: EquipmentAlarm } | "refused" | "sign in" | null;

export const useAnswering = (plant: Plant): Answering => {
  const t = useWords(WORDS);
  const [open, setOpen] = useState<Open>(null);

  const give = async (what: Answer, alarm: EquipmentAlarm, minutes: number, comment: string): Promise<void> => {
    const { monitor } = plant;
    const id = alarm.alarm_id;
    try {
      if (what === "acknowledge") await monitor.acknowledge(id, comment || undefined);
      else if (what === "shelve") await monitor.shelve(id, minutes, comment || undefined);
      else await monitor.unshelve(id);
      setOpen(null);
      tell(t.done[what] ?? "", "good");
    } catch (error) {
      const code = error instanceof AtriumError ? error.code : "";
      if (code === "FORBIDDEN" || code.startsWith("TOKEN_")) return setOpen("refused");
      setOpen(null);
      tell(reason(error, t), "bad");
    }
  };

  const close = () => setOpen(null);
  const dialog =
    open === null ? null : open === "sign in" ? (
      <SignIn onDone={close} />
    ) : open === "refused" ? (
      <Refused onClose={close} onSignIn={() => setOpen("sign in")} />
    ) : (
      <More {...open} onClose={close} onGive={(minutes, comment) => give(open.what, open.alarm, minutes, comment)} />
    );
  return {
    answer: (what, alarm, ask) => (ask ? setOpen({ what, alarm }) : void give(what, alarm, 0, "")),
    dialog,
  };
};

const reason = (error: unknown, t: MonitorWords): string => {
  if (!(error instanceof AtriumError)) return String(error);
  const known: Record<string, string> = {
    CONFLICT: t.over,
    NOT_FOUND: t.gone,
    RATE_LIMITED: t.tooFast,
    NOT_CONNECTED: t.unreachable,
    CONNECTION_LOST: t.unreachable,
    UNREACHABLE: t.unreachable,
    TIMEOUT: t.unreachable,
  };
  return known[error.code] ?? `${error.message} (${error.code})`;
};

function Refused({ onClose, onSignIn }: { onClose: () => void; onSignIn: () => void }) {
  const t = useWords(WORDS);
  const person = usePerson();
  return (
    <Dialog title={t.notAllowed} onClose={onClose}>
      <p className="wrap">{person === null ? t.notSignedIn : t.notStaff(person.userId)}</p>
      <footer>
        <button type="button" onClick={onClose}>
          {t.close}
        </button>
        <button type="button" className="primary" onClick={onSignIn}>
          {t.signIn}
        </button>
      </footer>
    </Dialog>
  );
}

const MINUTES = [10, 30, 60, 240, 480, 1440, 10_080];
const USUAL_MINUTES = 30;
const LONGEST_COMMENT = 1000; // the server takes no more

interface MoreProps {
  what: Answer;
  alarm: EquipmentAlarm;
  onClose: () => void;
  onGive: (minutes: number, comment: string) => Promise<void>;
}

function More({ what, alarm, onClose, onGive }: MoreProps) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [busy, setBusy] = useState(false);
  const why = useId();
  const shelves = what === "shelve";
  const submitted = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    void onGive(Number(form.get("minutes") ?? 0), String(form.get("comment")).trim()).finally(() => setBusy(false));
  };
  return (
    <Dialog title={shelves ? t.shelveTitle : t.acknowledgeTitle} onClose={onClose}>
      <form className="stack" onSubmit={submitted} aria-describedby={why}>
        <p id={why} className="wrap">
          <strong>{alarm.equipment_name ?? alarm.equipment_code}</strong> ·{" "}
          {alarm.kind === "disconnected" ? t.disconnected : t.error}
          {shelves && <span className="muted monitor-why">{t.shelveWhy}</span>}
        </p>
        {shelves && (
          <label>
            {t.forLong}
            <select name="minutes" defaultValue={USUAL_MINUTES}>
              {MINUTES.map((minutes) => (
                <option key={minutes} value={minutes}>
                  {span(minutes * 60_000, language)}
                </option>
              ))}
            </select>
          </label>
        )}
        <label>
          {t.comment}
          <textarea name="comment" rows={3} maxLength={LONGEST_COMMENT} />
        </label>
        <footer>
          <button type="button" onClick={onClose}>
            {t.cancel}
          </button>
          <button type="submit" className="primary" disabled={busy}>
            {shelves ? t.shelve.replace("…", "") : t.acknowledge}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
