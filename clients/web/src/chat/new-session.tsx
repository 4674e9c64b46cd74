import { type FormEvent, useState } from "react";
import { Dialog } from "../shell/dialog";
import { request } from "../shell/http";
import { useWords } from "../shell/words";
import { Avatar } from "./avatar";
import { tellFault } from "./faults";
import { WORDS } from "./words";

export interface AgentInfo {
  readonly id: number;
  readonly name: string;
  readonly answers: boolean;
}

const PEOPLE_ONLY = 0; // no agent's id

/** `onMade` is told the new session's id. */
export function NewSession({
  agents,
  defaultAgent,
  onMade,
  onClose,
}: {
  agents: readonly AgentInfo[];
  defaultAgent: number | null;
  onMade: (sessionId: string) => void;
  onClose: () => void;
}) {
  const t = useWords(WORDS);
  const [busy, setBusy] = useState(false);

  const submitted = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const title = String(form.get("title")).trim();
    const people = [
      ...new Set(
        String(form.get("people"))
          .split(",")
          .map((name) => name.trim())
          .filter(Boolean),
      ),
    ].slice(0, 99);
    setBusy(true);
    try {
      const made = await request<{ session_id: string }>("/api/chat/sessions", {
        body: { agent_id: Number(form.get("agent")), ...(title !== "" && { title }) },
      });
      const path = `/api/chat/sessions/${encodeURIComponent(made.session_id)}/participants`;
      for (const user_id of people) await request(path, { body: { user_id } }).catch((error) => tellFault(error, t));
      onMade(made.session_id);
    } catch (error) {
      tellFault(error, t);
      setBusy(false);
    }
  };

  const choices = [
    ...agents.filter((each) => each.answers).map(({ id, name }) => ({ id, name, hint: t.agentHint })),
    { id: PEOPLE_ONLY, name: t.peopleOnly, hint: t.peopleOnlyHint },
  ];
  const chosen = choices.find(({ id }) => id === defaultAgent)?.id ?? choices[0]?.id;
  return (
    <Dialog title={t.newSession} onClose={onClose}>
      <form className="stack" onSubmit={(event) => void submitted(event)}>
        <label>
          {t.title}
          <input name="title" maxLength={200} autoComplete="off" placeholder={t.titleHint} />
        </label>
        <fieldset className="chat-choices">
          <legend className="small">{t.whoAnswers}</legend>
          {choices.map(({ id, name, hint }) => (
            <label key={id} className="inline">
              <input type="radio" name="agent" value={id} defaultChecked={id === chosen} />
              <Avatar name={name} robot={id !== PEOPLE_ONLY} />
              <span className="chat-person">
                <span className="clip">{name}</span>
                <span className="small muted">{hint}</span>
              </span>
            </label>
          ))}
        </fieldset>
        <label>
          {t.invite}
          <input name="people" maxLength={2000} autoComplete="off" placeholder={t.inviteHint} />
        </label>
        <footer>
          <button type="button" onClick={onClose}>
            {t.cancel}
          </button>
          <button type="submit" className="primary" disabled={busy}>
            {t.start}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
