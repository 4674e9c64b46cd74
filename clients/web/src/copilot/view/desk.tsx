import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { Dialog } from "../../shell/dialog";
import { Light } from "../../shell/light";
import { useWords } from "../../shell/words";
import { explain } from "../faults";
import type { Opened } from "../page";
import { isOpen } from "../thread/asked";
import { WORDS } from "../words";
import { AskBox } from "./ask-box";
import { Card } from "./card";
import { Clarification } from "./clarification";
import { Consent } from "./consent";
import { SetsPanel } from "./sets-panel";

const SPOKEN_MS = 60_000;

export function Desk({ sets, thread, conversation }: Opened) {
  const t = useWords(WORDS);
  const asked = useSyncExternalStore(thread.subscribe, thread.snapshot);
  const talk = useSyncExternalStore(conversation.subscribe, conversation.snapshot);
  const [side, setSide] = useState<"thread" | "data">("thread");
  const [later, setLater] = useState("");
  const [clearing, setClearing] = useState(false);
  const { clarifying, consent } = talk;
  const shown = clarifying !== null && clarifying.exchange.requestId !== later;

  const actions = useMemo(
    () => ({
      cancel: (id: string) => conversation.cancel(id),
      again: (text: string) => void conversation.ask(text),
      remove: (id: string) => void thread.remove(id),
      clarify: () => setLater(""),
      sent: thread.sent,
    }),
    [conversation, thread],
  );

  return (
    <div className="copilot" data-side={side}>
      <fieldset className="copilot-sides" aria-label={t.title}>
        <button type="button" aria-pressed={side === "thread"} onClick={() => setSide("thread")}>
          {t.thread}
        </button>
        <button type="button" aria-pressed={side === "data"} onClick={() => setSide("data")}>
          {t.data}
        </button>
      </fieldset>
      <section className="copilot-main" aria-labelledby="copilot-title">
        <header className="copilot-head">
          <div>
            <h1 id="copilot-title">{t.title}</h1>
            <p className="muted small">{t.lead}</p>
          </div>
          <Light state={talk.state === "closed" ? "failed" : talk.state} onRetry={() => conversation.retry()} />
        </header>
        {talk.state === "failed" && talk.error && (
          <div className="note bad" role="alert">
            {t.refused(talk.error.code.startsWith("TOKEN_") ? t.faultToken : explain(talk.error, t).text)}
          </div>
        )}
        <AskBox talk={talk} queued={asked.filter(isOpen).length} onAsk={(text) => void conversation.ask(text)} />
        <Spoken latest={asked[0]} />
        {asked.length > 0 && (
          <div className="copilot-list-head">
            <h2>{t.thread}</h2>
            <button type="button" className="bare small push" onClick={() => setClearing(true)}>
              {t.clear}
            </button>
          </div>
        )}
        <div className="copilot-list">
          {asked.map((each) => (
            <Card
              key={each.id}
              asked={each}
              actions={actions}
              clarifying={clarifying?.asked.id === each.id && !shown ? clarifying.until : null}
              waitUntil={each.state === "queued" ? talk.waitUntil : null}
            />
          ))}
          {!asked.length && <p className="empty card">{t.nothing}</p>}
        </div>
      </section>
      <SetsPanel sets={sets} />
      {consent && <Consent key={consent.exchange.requestId} prompt={consent} />}
      {!consent && shown && (
        <Clarification
          key={clarifying.exchange.requestId}
          prompt={clarifying}
          onLater={() => setLater(clarifying.exchange.requestId)}
          onCancel={() => conversation.cancel(clarifying.asked.id)}
        />
      )}
      {clearing && (
        <Dialog title={t.clear} onClose={() => setClearing(false)}>
          <p>{t.clearSure}</p>
          <footer>
            <button type="button" onClick={() => setClearing(false)}>
              {t.cancel}
            </button>
            <button
              type="button"
              className="danger"
              onClick={() => {
                void thread.clear();
                setClearing(false);
              }}
            >
              {t.clear}
            </button>
          </footer>
        </Dialog>
      )}
    </div>
  );
}

/** For who does not see it: the state of the newest question, and its answer. */
function Spoken({ latest }: { latest: ReturnType<Opened["thread"]["snapshot"]>[number] | undefined }) {
  const t = useWords(WORDS);
  const [text, setText] = useState("");
  useEffect(() => {
    if (!latest || Date.now() - (latest.until ?? latest.at) > SPOKEN_MS) return;
    if (latest.answer) setText(latest.answer.text.slice(0, 300));
    else if (latest.fault) setText(explain(latest.fault, t).text);
    else setText(t[latest.state]);
  }, [latest, t]);
  return (
    <p className="quiet" role="status">
      {text}
    </p>
  );
}
