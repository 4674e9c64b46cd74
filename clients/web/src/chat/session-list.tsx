import { type KeyboardEvent, type MouseEvent, memo, useCallback, useRef, useSyncExternalStore } from "react";
import { Virtualizer, type VirtualizerHandle } from "virtua";
import { clock, day } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { addressOf } from "./address";
import { Avatar } from "./avatar";
import { explain } from "./faults";
import { dayOf } from "./rows";
import { serverNow } from "./server-clock";
import type { Listed, Sessions } from "./sessions";
import { type ChatWords, WORDS } from "./words";

/** How a session is called where it has no title. */
export const titleOf = (
  session: Pick<Listed, "session_id" | "title" | "user_id" | "agent_name">,
  me: string,
  t: ChatWords,
): string => {
  if (session.title) return session.title;
  if (session.user_id !== me) return session.user_id;
  if (session.agent_name) return t.withAgent(session.agent_name);
  return t.untitled(session.session_id.replace(/^sess_/, "").slice(0, 12));
};

const NEAR_END = 600; // pixels

export function SessionList({
  sessions,
  me,
  staff,
  selected,
  onPick,
  empty,
  hint,
}: {
  sessions: Sessions;
  me: string;
  staff: boolean;
  selected: string | null;
  onPick: (sessionId: string) => void;
  empty: string;
  hint: string | null;
}) {
  const t = useWords(WORDS);
  const { sessions: shown, hasMore, loading, error } = useSyncExternalStore(sessions.subscribe, sessions.snapshot);
  const frame = useRef<HTMLDivElement>(null);
  const list = useRef<VirtualizerHandle>(null);

  const scrolled = (top: number): void => {
    const view = frame.current;
    if (view && view.scrollHeight - top - view.clientHeight < NEAR_END && error === null) void sessions.more();
  };

  const focus = (index: number): void => {
    list.current?.scrollToIndex(index, { align: "nearest" });
    const find = () => frame.current?.querySelector<HTMLElement>(`[data-index="${index}"]`);
    const item = find();
    if (item) item.focus();
    else requestAnimationFrame(() => requestAnimationFrame(() => find()?.focus())); // once it is drawn
  };

  const pressed = (event: KeyboardEvent<HTMLDivElement>): void => {
    const at = Number((event.target as HTMLElement).dataset.index);
    if (Number.isNaN(at)) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= 0 && to < shown.length) focus(to);
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: arrows move between its links
    <div ref={frame} className="chat-list" onKeyDown={pressed}>
      {shown.length === 0 && !loading && !hasMore && error === null && (
        <div className="empty">
          <p>{empty}</p>
          {hint && <p className="small">{hint}</p>}
        </div>
      )}
      <Virtualizer ref={list} as="ul" item="li" data={shown} itemSize={68} onScroll={scrolled}>
        {(session, index) => (
          <Item
            key={session.session_id}
            session={session}
            index={index}
            me={me}
            staff={staff}
            selected={session.session_id === selected}
            onPick={onPick}
          />
        )}
      </Virtualizer>
      {error !== null && (
        <div className="empty stack">
          <p>
            {t.moreFailed} {explain(error, t)}
          </p>
          <p>
            <button type="button" className="small" onClick={() => void sessions.more()}>
              {t.again}
            </button>
          </p>
        </div>
      )}
      {loading && shown.length === 0 && (
        <div className="chat-skeletons" aria-hidden="true">
          {[0, 1, 2, 3, 4].map((each) => (
            <div key={each} className="chat-skeleton" />
          ))}
        </div>
      )}
    </div>
  );
}

const Item = memo(function Item({
  session,
  index,
  me,
  staff,
  selected,
  onPick,
}: {
  session: Listed;
  index: number;
  me: string;
  staff: boolean;
  selected: boolean;
  onPick: (sessionId: string) => void;
}) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const title = titleOf(session, me, t);
  const at = session.last_message_at ?? session.created_at;
  const isToday = dayOf(at) === dayOf(serverNow().toISOString());
  const briefing = staff && session.user_id !== me ? session.handover : null; // it is about the customer, not for them
  const preview = briefing?.summary || session.last_message || "";
  const picked = useCallback(
    (event: MouseEvent) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return; // a tab of its own
      event.preventDefault();
      onPick(session.session_id);
    },
    [onPick, session.session_id],
  );
  return (
    <a
      className="chat-item"
      href={addressOf(session.session_id)}
      data-index={index}
      aria-current={selected ? "true" : undefined}
      onClick={picked}
    >
      <Avatar
        name={session.user_id !== me ? session.user_id : (session.agent_name ?? title)}
        robot={session.user_id === me && session.agent_name !== null && !session.title}
      />
      <span className="chat-item-text">
        <span className="chat-item-line">
          <span className="clip chat-item-title" title={title}>
            {title}
          </span>
          <time className="small muted number" dateTime={at}>
            {isToday ? clock(at, language) : day(at, language)}
          </time>
        </span>
        <span className="chat-item-line">
          <span className="clip small muted">{preview.slice(0, 200) || t.nobodyYet}</span>
          {briefing && (
            <span className={`badge ${urgent(briefing.urgency) ? "bad" : "warn"}`}>
              {t.urgencies[briefing.urgency] ?? briefing.urgency}
            </span>
          )}
          {session.unread_count > 0 && (
            <span className="badge accent number">
              <span aria-hidden="true">{session.unread_count > 99 ? "99+" : session.unread_count}</span>
              <span className="quiet">{t.unread(session.unread_count)}</span>
            </span>
          )}
        </span>
      </span>
    </a>
  );
});

export const urgent = (urgency: string): boolean => urgency === "high" || urgency === "critical";
