import type { ChatMessage, SessionInfo } from "atrium-client";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { request } from "../shell/http";
import { dayAndClock } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { explain } from "./faults";
import { Message, type Names } from "./message";
import { Rows } from "./rows";
import { urgent } from "./session-list";
import type { Handover } from "./sessions";
import { WORDS } from "./words";

const EVERY_MS = 4000;
const NEWEST = 100;
const NEAR_END = 48; // pixels

/** What an operator reads before taking over: to join would be to take over. */
export function Preview({
  session,
  names,
  onTakeOver,
}: {
  session: SessionInfo;
  names: Names;
  onTakeOver: () => Promise<void>;
}) {
  const t = useWords(WORDS);
  const [messages, setMessages] = useState<readonly ChatMessage[]>([]);
  const [fault, setFault] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const frame = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const sticks = useRef(true); // to the end, until it is scrolled up
  const lastTop = useRef(0);
  const rows = useRef(new Rows());
  const id = session.session_id;

  useEffect(() => {
    const ended = new AbortController();
    let newest = -1;
    const look = async (): Promise<void> => {
      if (document.visibilityState !== "visible" && newest >= 0) return;
      try {
        const page = await request<{ messages: ChatMessage[] }>(
          `/api/chat/sessions/${encodeURIComponent(id)}/messages?limit=${NEWEST}`,
          { signal: ended.signal },
        );
        setFault(null);
        setMessages(page.messages);
        newest = page.messages.at(-1)?.seq ?? 0;
      } catch (error) {
        if (!ended.signal.aborted) setFault(error);
      }
    };
    void look();
    const timer = setInterval(look, EVERY_MS);
    return () => {
      ended.abort();
      clearInterval(timer);
    };
  }, [id]);

  // Once what was said is drawn, and whenever it, or the room for it, becomes another.
  useLayoutEffect(() => {
    const toEnd = (): void => {
      if (sticks.current) frame.current?.scrollTo({ top: frame.current.scrollHeight });
    };
    const resized = new ResizeObserver(toEnd);
    for (const each of [frame.current, content.current]) if (each) resized.observe(each);
    return () => resized.disconnect();
  }, []);

  const scrolled = ({ currentTarget: view }: { currentTarget: HTMLElement }): void => {
    if (view.scrollHeight - view.scrollTop - view.clientHeight < NEAR_END) sticks.current = true;
    else if (view.scrollTop < lastTop.current) sticks.current = false;
    lastTop.current = view.scrollTop;
  };

  const shown = rows.current.of({
    messages,
    pending: [],
    streams: [],
    reads: {},
    notices: [],
    me: names.me,
    unreadAfter: null,
  });
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: keys scroll it */}
      <section ref={frame} className="chat-history" aria-label={t.history} tabIndex={0} onScroll={scrolled}>
        <div className="chat-spacer" />
        {fault !== null && <p className="chat-notice">{explain(fault, t)}</p>}
        <div ref={content}>
          {shown.map(
            (row) =>
              row.kind === "message" && (
                <div key={row.key} className="chat-row">
                  <Message row={row} names={names} actions={null} flash={false} />
                </div>
              ),
          )}
        </div>
      </section>
      <footer className="chat-take">
        {session.handover && <Analysis handover={session.handover as unknown as Handover} user={session.user_id} />}
        <div className="row">
          <p className="small muted">{t.onlyReading}</p>
          <button
            type="button"
            className="primary push"
            disabled={busy}
            onClick={() => {
              setBusy(true);
              void onTakeOver().finally(() => setBusy(false));
            }}
          >
            {t.takeOver}
          </button>
        </div>
      </footer>
    </>
  );
}

/** Why a person is wanted, and how soon. */
function Analysis({ handover, user }: { handover: Handover; user: string }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  return (
    <section className={`note ${urgent(handover.urgency) ? "bad" : "warn"} chat-analysis`}>
      <p className="row">
        <b className="wrap">{t.wantsPerson(user)}</b>
        <span className={`badge ${urgent(handover.urgency) ? "bad" : "warn"}`}>
          {t.urgency}: {t.urgencies[handover.urgency] ?? handover.urgency}
        </span>
        <span className="small muted push">
          {t.askedAt} {dayAndClock(handover.requested_at, language)}
        </span>
      </p>
      {handover.summary && <p className="wrap small">{handover.summary}</p>}
      {handover.reason && (
        <p className="wrap small">
          {t.reason}: {handover.reason}
        </p>
      )}
      {handover.keywords?.length > 0 && (
        <p className="row chat-keywords">
          {handover.keywords.slice(0, 8).map((word) => (
            <span key={word} className="badge">
              {word}
            </span>
          ))}
        </p>
      )}
    </section>
  );
}
