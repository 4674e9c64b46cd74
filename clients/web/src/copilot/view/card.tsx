import { memo } from "react";
import { clock, dayAndClock, span, useNow } from "../../shell/times";
import { tell } from "../../shell/toasts";
import { type Language, useLanguage, useWords } from "../../shell/words";
import type { Sent } from "../data/database";
import { explain } from "../faults";
import { type Asked, isOpen, type State } from "../thread/asked";
import { WORDS } from "../words";
import { AnswerView, asText } from "./answer";
import { Inspector } from "./inspector";
import { Steps } from "./steps";

export interface Actions {
  readonly cancel: (id: string) => void;
  readonly again: (text: string) => void;
  readonly remove: (id: string) => void;
  readonly clarify: () => void;
  readonly sent: (requestId: string) => Promise<Sent | undefined>;
}

const TONE: Record<State, string> = {
  queued: "",
  sending: "info",
  running: "info",
  answered: "good",
  failed: "bad",
  cancelled: "",
  elsewhere: "",
};
const TODAY_MS = 20 * 3600_000;

const when = (at: number, language: Language) =>
  Date.now() - at < TODAY_MS ? clock(at, language) : dayAndClock(at, language);

interface Props {
  asked: Asked;
  actions: Actions;
  /** Until when its question to the person, put off, can be answered. */
  clarifying: number | null;
  waitUntil: number | null;
}

export const Card = memo(function Card({ asked, actions, clarifying, waitUntil }: Props) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const fault = asked.fault && explain(asked.fault, t);
  const heading = `asked-${asked.id}`;

  const copy = () => {
    const copied =
      navigator.clipboard?.writeText(`${asked.text}\n\n${asked.answer ? asText(asked.answer) : ""}`) ??
      Promise.reject();
    copied.then(
      () => tell(t.copied, "good"),
      () => tell(t.notCopied, "bad"),
    );
  };

  return (
    <article className="card copilot-card" aria-labelledby={heading} data-state={asked.state}>
      <header>
        <h3 id={heading} className="wrap">
          {asked.text || t.elsewhere}
        </h3>
        <div className="row copilot-card-tools">
          <span className={`badge ${TONE[asked.state]}`}>{t[asked.state]}</span>
          <time className="muted small" dateTime={new Date(asked.at).toISOString()}>
            {when(asked.at, language)}
          </time>
          {asked.answer && (
            <button type="button" className="bare small" onClick={copy}>
              {t.copy}
            </button>
          )}
          {isOpen(asked) ? (
            <button type="button" className="small" onClick={() => actions.cancel(asked.id)}>
              {t.cancel}
            </button>
          ) : (
            <>
              {asked.text && (
                <button type="button" className="bare small" onClick={() => actions.again(asked.text)}>
                  {t.again}
                </button>
              )}
              <button type="button" className="bare small" onClick={() => actions.remove(asked.id)}>
                {t.remove}
              </button>
            </>
          )}
        </div>
      </header>
      {waitUntil !== null && <Wait until={waitUntil} />}
      {clarifying !== null && (
        <button type="button" className="primary copilot-open-clarify" onClick={actions.clarify}>
          {t.openClarify} <Left until={clarifying} />
        </button>
      )}
      {asked.steps.length > 0 && <Steps asked={asked} />}
      {fault && (
        <div className={`note ${asked.fault?.code === "NO_DATA" || asked.fault?.code === "DENIED" ? "warn" : "bad"}`}>
          <p>{fault.text}</p>
          {fault.details && <p className="small wrap">{fault.details}</p>}
        </div>
      )}
      {asked.answer && <AnswerView answer={asked.answer} />}
      {(asked.state !== "queued" || asked.total.requests > 0) && <Inspector asked={asked} sent={actions.sent} />}
    </article>
  );
});

function Wait({ until }: { until: number }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  return <p className="note warn number">{t.waiting(span(until - useNow(500) + 999, language))}</p>;
}

/** How long, as `1:05`. */
export function Left({ until }: { until: number }) {
  const seconds = Math.max(0, Math.ceil((until - useNow(250)) / 1000));
  return (
    <span className="number">
      {Math.floor(seconds / 60)}:{String(seconds % 60).padStart(2, "0")}
    </span>
  );
}
