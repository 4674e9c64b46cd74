import { AtriumError, type ChatMessage, type SessionSnapshot } from "atrium-client";
import { useSession } from "atrium-client/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { tell } from "../shell/toasts";
import { useWords } from "../shell/words";
import { Bar } from "./bar";
import { Composer } from "./composer";
import { Confirm, type Question } from "./confirm";
import { Details } from "./details";
import { useDropping } from "./dropping";
import { explain, tellFault } from "./faults";
import { Heard } from "./heard";
import { History, type Target } from "./history";
import { Message, type MessageActions, type Names, NoticeLine, Pending, Streaming } from "./message";
import { useNotices } from "./notices";
import { useReads } from "./reads";
import { type Row, Rows } from "./rows";
import { titleOf } from "./session-list";
import { wouldTakeOver } from "./taking-over";
import type { TalkProps } from "./talk";
import { UploadList } from "./upload-list";
import { MOST_FILES, Uploads } from "./uploads";
import { WORDS } from "./words";

const MOST_PAGES = 50; // of 200 messages each, on the way to one that was found
const FLASH_MS = 2500;

const storage = (): Storage | undefined => {
  try {
    return localStorage;
  } catch {
    return undefined; // forbidden here
  }
};

const EMPTY: SessionSnapshot = {
  status: "joining",
  error: undefined,
  session: undefined,
  participants: [],
  online: [],
  messages: [],
  hasOlder: false,
  pending: [],
  streams: [],
  typing: [],
  reads: {},
  lastSeq: 0,
};
/** A session that one is in: all of it, live. `onGivenBack`: its agent answers again. */
export function Joined(props: TalkProps & { onGivenBack: () => void }) {
  const {
    connection,
    light,
    sessionId,
    me,
    staff,
    agents,
    jump,
    onSaid,
    onSession,
    onRead,
    onGone,
    onDetails,
    operator,
    onGivenBack,
  } = props;
  const t = useWords(WORDS);
  const { session: live, snapshot = EMPTY } = useSession(
    connection,
    sessionId,
    useMemo(() => ({ storage: storage() }), []),
  );
  const { status, messages, lastSeq, hasOlder, typing, streams, pending } = snapshot;
  const session = snapshot.session ?? null;

  // -- what is known beside the snapshot ---------------------------------------------------------------------------

  const isIn = status === "joined" || status === "fallback";
  const readBefore = useReads(sessionId, isIn);
  const notices = useNotices(connection, sessionId, ({ event, userId }) => {
    if (event === "participant_removed" && userId === me && !staff) {
      tell(t.removedYou);
      onGone(sessionId);
    }
  });
  const isWanted = session?.handover != null;

  useEffect(() => live?.onMessage((message, replayed) => replayed || onSaid(message)), [live, onSaid]);
  useEffect(() => {
    if (session) onSession(session);
  }, [session, onSession]);
  useEffect(() => {
    if (operator && session?.agent && wouldTakeOver(session, me)) onGivenBack(); // somebody gave it back to the agent
  }, [operator, session, me, onGivenBack]);

  const [opened, setOpened] = useState<number | null>(null); // how far I had read then
  const isOpen = useRef(false);
  useEffect(() => {
    if (isOpen.current || !session || !isIn) return;
    isOpen.current = true;
    if (session.unread_count > 0) setOpened(session.last_seq - session.unread_count);
  }, [session, isIn]);

  // -- what is shown ------------------------------------------------------------------------------------------------

  const operatorId = session?.operator_id ?? null;
  const names = useMemo<Names>(() => ({ me, agents, operator: operatorId }), [me, agents, operatorId]);
  const reads = useMemo(() => {
    const all: Record<string, number> = { ...readBefore };
    for (const [user, seq] of Object.entries(snapshot.reads)) all[user] = Math.max(seq, all[user] ?? 0);
    return all;
  }, [readBefore, snapshot.reads]);
  const drawn = useRef(new Rows());
  const rows = useMemo(
    () => drawn.current.of({ messages, pending, streams, reads, notices, me, unreadAfter: opened }),
    [messages, pending, streams, reads, notices, me, opened],
  );

  // -- what is done -------------------------------------------------------------------------------------------------

  const fault = useCallback((error: unknown) => tellFault(error, t), [t]);
  const [editing, setEditing] = useState<ChatMessage | null>(null);
  const [question, setQuestion] = useState<Question | null>(null);
  const isActive = session !== null && session.status === "active";
  const actions = useMemo<MessageActions | null>(
    () =>
      live && isActive
        ? {
            edit: setEditing,
            remove: (message) =>
              setQuestion({
                title: t.deleteTitle,
                hint: t.deleteHint,
                action: t.remove,
                onYes: () => void live.delete(message.message_id).catch(fault),
              }),
          }
        : null,
    [live, isActive, t, fault],
  );
  const loadOlder = useCallback(async () => live?.loadOlder(), [live]);
  const readAll = useCallback(() => {
    if (!live || !document.hasFocus() || live.snapshot().lastSeq === 0) return;
    void live.read();
    onRead(sessionId);
  }, [live, onRead, sessionId]);

  const [target, setTarget] = useState<Target | null>(null);
  const isReady = messages.length > 0;
  useEffect(() => {
    if (jump === null || !live || !isReady) return;
    let ended = false;
    const reach = async (): Promise<void> => {
      for (let page = 0; page < MOST_PAGES; page++) {
        const { messages: held, hasOlder: more } = live.snapshot();
        if (ended || !more || (held[0]?.seq ?? 0) <= jump.seq) break;
        await live.loadOlder();
      }
      if (!ended) setTarget(jump);
    };
    reach().catch(fault);
    return () => {
      ended = true;
    };
  }, [jump, live, isReady, fault]);
  const [flash, setFlash] = useState<number | null>(null);
  useEffect(() => {
    if (target === null) return;
    setFlash(target.seq);
    const timer = setTimeout(() => setFlash(null), FLASH_MS);
    return () => clearTimeout(timer);
  }, [target]);

  const [uploads, setUploads] = useState<Uploads | null>(null);
  useEffect(() => {
    const made = new Uploads(sessionId);
    setUploads(made);
    return () => made.close();
  }, [sessionId]);
  const sendFiles = (files: readonly File[]): void => {
    if (files.length > 0 && isActive && uploads && !uploads.add(files)) tell(t.tooManyFiles(MOST_FILES), "bad");
  };

  const editLast = (): void => {
    const last = messages.findLast(
      (each) =>
        each.sender_type === "user" &&
        each.sender_id === me &&
        each.message_type === "text" &&
        each.metadata.deleted_at === undefined,
    );
    if (last) setEditing(last);
  };
  const send = async (content: string): Promise<void> => {
    setOpened(null);
    live?.send(content).catch((error) => {
      if (error instanceof AtriumError && error.code === "LIMIT_EXCEEDED") fault(error); // all else stands in the history
    });
  };
  const save = async (message: ChatMessage, content: string): Promise<void> => {
    try {
      if (content !== message.content) await live?.edit(message.message_id, content);
      setEditing(null);
    } catch (error) {
      fault(error);
      throw error;
    }
  };
  const askPerson = (): void => {
    connection.call("handover_request", { session_id: sessionId }).catch(fault);
  };
  const giveBack = (): void => {
    connection.call("handover_return", { session_id: sessionId }).then(() => {
      tell(t.gaveBack, "good");
      if (session) onSession({ ...session, operator_id: null });
      onGivenBack();
    }, fault);
  };

  const draw = (row: Row) => {
    switch (row.kind) {
      case "message":
        return <Message row={row} names={names} actions={actions} flash={flash === row.message.seq} />;
      case "notice":
        return <NoticeLine notice={row.notice} />;
      case "stream":
        return <Streaming stream={row.stream} first={row.first} names={names} />;
      case "pending":
        return (
          <Pending
            pending={row.pending}
            first={row.first}
            connected={isIn && (light === "connected" || light === "fallback")}
            onRetry={() => live?.retry(row.key)}
            onDiscard={() => live?.discard(row.key)}
          />
        );
    }
  };

  const [dragged, dropHandlers] = useDropping(isActive, sendFiles);

  if (status === "failed" && !isReady) {
    return (
      <section className="chat-talk">
        <Bar {...props} session={session} online={0} />
        <div className="empty stack" role="alert">
          <p>{explain(snapshot.error, t)}</p>
          <p>
            <button type="button" onClick={props.onBack}>
              {t.back}
            </button>
          </p>
        </div>
      </section>
    );
  }
  const [one = "", two = ""] = typing;
  const given = streams.filter(({ error }) => error === undefined);
  const answering = given[0];
  const now = answering
    ? `${agents.get(answering.sender_id) ?? t.agent} ${t.answering}`
    : typing.length > 2
      ? t.typingMany(typing.length)
      : typing.length === 2
        ? t.typingTwo(one, two)
        : typing.length === 1
          ? t.typingOne(one)
          : isWanted && operatorId === null && isActive
            ? t.askedPerson
            : "";
  const title = session ? titleOf({ ...session, agent_name: session.agent?.name ?? null }, me, t) : t.opening;
  return (
    <>
      <section className="chat-talk" aria-label={title} {...dropHandlers}>
        <Bar {...props} session={session} online={snapshot.online.length}>
          {isActive && session.agent && operatorId === null && session.user_id === me && !isWanted && (
            <button type="button" className="small" onClick={askPerson}>
              {t.askPerson}
            </button>
          )}
          {isActive && staff && operatorId !== null && session.agent && (
            <button type="button" className="small" onClick={giveBack}>
              {t.giveBack}
            </button>
          )}
        </Bar>
        {session === null && !isReady ? (
          <p className="empty chat-history-frame" role="status">
            {t.opening}
          </p>
        ) : (
          <History rows={rows} hasOlder={hasOlder} loadOlder={loadOlder} target={target} onEnd={readAll} draw={draw} />
        )}
        <Heard messages={messages} names={names} />
        <footer className="chat-foot">
          <div className="chat-now small muted">
            <p role="status">{now}</p>
            {live &&
              given.map(({ message_id }) => (
                <button
                  key={message_id}
                  type="button"
                  className="small chat-stop"
                  aria-label={t.stopAnswer}
                  onClick={() => void live.cancel(message_id).catch(fault)}
                >
                  <i aria-hidden="true" /> {t.stop}
                </button>
              ))}
          </div>
          {uploads && <UploadList uploads={uploads} />}
          {status === "failed" && (
            <p className="note bad" role="alert">
              {explain(snapshot.error, t)}
            </p>
          )}
          {session && !isActive ? (
            <p className="note warn chat-archived">{t.isArchived}</p>
          ) : (
            <Composer
              sessionId={sessionId}
              editing={editing}
              onSend={send}
              onSave={save}
              onCancelEdit={() => setEditing(null)}
              onEditLast={editLast}
              onTyping={(isTyping) => live?.typing(isTyping)}
              onFiles={sendFiles}
            />
          )}
        </footer>
        {dragged && <div className="chat-drop">{t.dropHere}</div>}
        {question && <Confirm question={question} onClose={() => setQuestion(null)} />}
      </section>
      {props.detailed && session && (
        <Details
          session={session}
          participants={snapshot.participants}
          online={snapshot.online}
          count={lastSeq}
          me={me}
          staff={staff}
          onClose={() => onDetails(false)}
          onGone={(left) => (left ? onGone(sessionId) : onSession({ ...session, status: "archived" }))}
        />
      )}
    </>
  );
}
