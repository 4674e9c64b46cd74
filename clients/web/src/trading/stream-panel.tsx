// biome-ignore-all lint/a11y/useSemanticElements: a virtualised list is drawn by divs of the library
import { type FormEvent, memo, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { VList, type VListHandle } from "virtua";
import { Dialog } from "../shell/dialog";
import { clock, dayAndClock } from "../shell/times";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { Choice } from "./choice";
import type { Desk } from "./desk";
import { said, whole, writer } from "./said";
import { type Entry, KINDS, type Kind } from "./stream";
import { fault, WORDS } from "./words";

const SHOWN = ["everything", ...KINDS] as const;
const GENERAL = "general";
const MOST_LETTERS = 4000;
const ANNOUNCE_MS = 3000;

/** Alerts, what is for this user, and chat: one list, the newest on top. */
export function StreamPanel({ desk }: { desk: Desk }) {
  const t = useWords(WORDS);
  const { stream } = desk;
  const [kind, setKind] = useState<(typeof SHOWN)[number]>("everything");
  const [opened, setOpened] = useState<Entry | null>(null);
  const [isBack, setBack] = useState(false);
  const list = useRef<VListHandle>(null);
  const all = useSyncExternalStore(stream.subscribe, stream.entries);
  const entries = useMemo(
    () => (kind === "everything" ? all : all.filter((each) => each.kind === kind)).toReversed(),
    [all, kind],
  );

  return (
    <section className="card trading-panel trading-stream" aria-labelledby="trading-stream">
      <header className="trading-panel-head">
        <h2 id="trading-stream">{t.stream}</h2>
      </header>
      <Choice label={t.kinds} choices={SHOWN} chosen={kind} onChoose={setKind} word={(each) => t[each]} />
      <Say desk={desk} />
      {entries.length === 0 ? (
        <p className="empty">{t.noEntries}</p>
      ) : (
        <VList
          ref={list}
          className="trading-rows"
          tabIndex={0}
          role="list"
          style={{ width: "auto" }}
          shift={isBack}
          onScroll={(offset) => setBack(offset > 4)}
        >
          {entries.map((entry) => (
            <Row key={entry.key} entry={entry} onOpen={setOpened} />
          ))}
        </VList>
      )}
      <Announcer entries={all} />
      {opened !== null && <Whole entry={opened} onClose={() => setOpened(null)} />}
    </section>
  );
}

const BADGES: Record<Kind, string> = { alert: "bad", order: "info", chat: "" };

const Row = memo(({ entry, onOpen }: { entry: Entry; onOpen: (entry: Entry) => void }) => {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const { message, kind } = entry;
  const who = writer(message);
  const { text, isCut } = useMemo(() => said(message), [message]);
  return (
    <div role="listitem" className="trading-entry" data-kind={kind}>
      <p className="trading-entry-head small muted">
        <span className={`badge ${BADGES[kind]}`}>{t[`${kind}One`]}</span>
        <span className="clip" title={who ?? message.type}>
          {who ?? message.type}
        </span>
        <time className="push number" dateTime={message.timestamp} title={entry.replayed ? t.earlier : undefined}>
          {clock(message.timestamp, language, true)}
        </time>
      </p>
      <p className="wrap trading-entry-text">{text}</p>
      {isCut && (
        <button type="button" className="bare small" onClick={() => onOpen(entry)}>
          {t.whole}
        </button>
      )}
    </div>
  );
});

function Whole({ entry: { message }, onClose }: { entry: Entry; onClose: () => void }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  return (
    <Dialog title={`${message.channel} · ${message.seq}`} onClose={onClose}>
      <p className="muted small">
        {t.published} {dayAndClock(message.timestamp, language)}
      </p>
      <pre className="small trading-whole">{whole(message)}</pre>
      <footer>
        <button type="button" onClick={onClose}>
          {t.dismiss}
        </button>
      </footer>
    </Dialog>
  );
}

function Say({ desk }: { desk: Desk }) {
  const t = useWords(WORDS);
  const [text, setText] = useState("");
  const [isSending, setSending] = useState(false);
  const submitted = async (event: FormEvent) => {
    event.preventDefault();
    const message = text.trim();
    if (message === "" || isSending) return;
    setSending(true);
    try {
      await desk.channel(GENERAL)?.chat(message);
      setText("");
    } catch (error) {
      tell(fault((error as { code?: string }).code, t), "bad");
    } finally {
      setSending(false);
    }
  };
  return (
    <form className="trading-say" onSubmit={submitted}>
      <input
        aria-label={t.say}
        placeholder={t.say}
        value={text}
        maxLength={MOST_LETTERS}
        autoComplete="off"
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <button type="submit" disabled={isSending || text.trim() === ""}>
        {t.send}
      </button>
    </form>
  );
}

/** Reads out alerts and what is for this user: the newest of those that came in three seconds. */
function Announcer({ entries }: { entries: readonly Entry[] }) {
  const t = useWords(WORDS);
  const [text, setText] = useState("");
  const due = useRef<Entry | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const newest = entries.findLast(({ kind, replayed }) => kind !== "chat" && !replayed) ?? null;
  useEffect(() => {
    if (newest === null) return;
    due.current = newest;
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      const entry = due.current;
      if (entry !== null) setText(`${t[`${entry.kind}One`]}: ${said(entry.message).text}`);
    }, ANNOUNCE_MS);
  }, [newest, t]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <p className="quiet" role="status">
      {text}
    </p>
  );
}
