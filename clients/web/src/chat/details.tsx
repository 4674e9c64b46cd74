import { type FormEvent, useState } from "react";
import { request } from "../shell/http";
import { dayAndClock } from "../shell/times";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { Avatar } from "./avatar";
import { Confirm, type Question } from "./confirm";
import { tellFault } from "./faults";
import { WORDS } from "./words";

export interface Described {
  readonly session_id: string;
  readonly user_id: string;
  readonly title: string | null;
  readonly status: string;
  readonly agent: { readonly name: string } | null;
  readonly operator_id: string | null;
  readonly created_at: string;
}

/** Who is in a session, and what may be done with it as a whole. */
export function Details({
  session,
  participants,
  online,
  count,
  me,
  staff,
  onClose,
  onGone,
}: {
  session: Described;
  participants: readonly string[];
  online: readonly string[];
  count: number;
  me: string;
  staff: boolean;
  onClose: () => void;
  /** It is not in the list any more: archived, or left. */
  onGone: (left: boolean) => void;
}) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [question, setQuestion] = useState<Question | null>(null);
  const path = `/api/chat/sessions/${encodeURIComponent(session.session_id)}`;
  const manages = staff || session.user_id === me;
  const active = session.status === "active";
  const people = [...participants, ...online.filter((each) => !participants.includes(each))];

  const invite = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = event.currentTarget;
    const name = String(new FormData(form).get("name")).trim();
    if (name === "") return;
    request(`${path}/participants`, { body: { user_id: name } }).then(
      () => {
        form.reset();
        tell(t.invited(name), "good");
      },
      (error) => tellFault(error, t),
    );
  };
  const remove = (name: string): void => {
    request(`${path}/participants/${encodeURIComponent(name)}`, { method: "DELETE" }).then(
      () => name === me && onGone(true),
      (error) => tellFault(error, t),
    );
  };
  const archive = (): void => {
    request(path, { method: "DELETE" }).then(
      () => onGone(false),
      (error) => tellFault(error, t),
    );
  };

  return (
    <aside className="chat-details" aria-label={t.details}>
      <header className="chat-bar">
        <h2>{t.details}</h2>
        <button
          type="button"
          className="bare push"
          aria-label={t.closeDetails}
          title={t.closeDetails}
          onClick={onClose}
        >
          ✕
        </button>
      </header>
      <div className="chat-details-content stack">
        <section>
          <h3>
            {t.people} <span className="muted number">{people.length}</span>
          </h3>
          <ul className="plain chat-people">
            {people.map((name) => {
              const here = online.includes(name);
              return (
                <li key={name}>
                  <Avatar name={name} here={here} />
                  <span className="chat-person">
                    <span className="clip" title={name}>
                      {name === me ? `${name} (${t.you})` : name}
                    </span>
                    <span className="small muted">
                      {[
                        here ? t.online : t.offline,
                        name === session.user_id ? t.owner : "",
                        name === session.operator_id ? t.operator : "",
                      ]
                        .filter(Boolean)
                        .join(" · ")}
                    </span>
                  </span>
                  {manages && name !== me && name !== session.user_id && participants.includes(name) && (
                    <button
                      type="button"
                      className="bare small"
                      aria-label={t.removePerson(name)}
                      title={t.removePerson(name)}
                      onClick={() =>
                        setQuestion({
                          title: t.removeTitle(name),
                          hint: t.removeHint,
                          action: t.removePerson(name),
                          onYes: () => remove(name),
                        })
                      }
                    >
                      ✕
                    </button>
                  )}
                </li>
              );
            })}
          </ul>
        </section>
        {manages && active && (
          <form className="chat-invite" onSubmit={invite}>
            <input
              name="name"
              required
              maxLength={100}
              autoComplete="off"
              aria-label={t.inviteName}
              placeholder={t.inviteName}
            />
            <button type="submit">{t.invite}</button>
          </form>
        )}
        <dl className="chat-facts small">
          <dt>{t.answersNow}</dt>
          <dd className="wrap">{session.operator_id ?? session.agent?.name ?? t.nobodyAnswers}</dd>
          <dt>{t.started}</dt>
          <dd>{dayAndClock(session.created_at, language)}</dd>
          <dt>{t.messages}</dt>
          <dd className="number">{count.toLocaleString(language)}</dd>
          <dt>{t.identifier}</dt>
          <dd className="mono wrap">{session.session_id}</dd>
        </dl>
        <div className="stack">
          {participants.includes(me) && session.user_id !== me && (
            <button
              type="button"
              onClick={() =>
                setQuestion({ title: t.leaveTitle, hint: t.leaveHint, action: t.leave, onYes: () => remove(me) })
              }
            >
              {t.leave}
            </button>
          )}
          {manages && active && (
            <button
              type="button"
              className="danger"
              onClick={() =>
                setQuestion({ title: t.archiveTitle, hint: t.archiveHint, action: t.archive, onYes: archive })
              }
            >
              {t.archive}
            </button>
          )}
        </div>
      </div>
      {question && <Confirm question={question} onClose={() => setQuestion(null)} />}
    </aside>
  );
}
