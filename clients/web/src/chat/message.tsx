import type { ChatMessage, ChatStream, PendingMessage } from "atrium-client";
import { memo, type ReactNode, useState } from "react";
import { clock, dayAndClock, day as dayText } from "../shell/times";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { Avatar } from "./avatar";
import { explain } from "./faults";
import { Attachment, fileOf } from "./files";
import { dayOf, type Notice, type Row } from "./rows";
import { serverNow } from "./server-clock";
import { readable } from "./size";
import { WORDS } from "./words";

export interface Names {
  readonly me: string;
  readonly agents: ReadonlyMap<string, string>; // by id
  readonly operator: string | null;
}

export interface MessageActions {
  readonly edit: (message: ChatMessage) => void;
  readonly remove: (message: ChatMessage) => void;
}

const CLIP_CHARS = 3000;
const CLIP_LINES = 40;

const clipped = (text: string): string => {
  let at = 0;
  for (let line = 0; line < CLIP_LINES; line++) {
    at = text.indexOf("\n", at) + 1;
    if (at === 0) return text.slice(0, CLIP_CHARS);
  }
  return text.slice(0, Math.min(at, CLIP_CHARS));
};

const LINK = /(https?:\/\/[^\s<>"'()[\]{}]+[^\s<>"'()[\]{}.,;:!?])/;

/** Text, in which addresses can be followed; nothing else is made of it. */
const linked = (text: string): ReactNode[] =>
  text.split(LINK).map((piece, index) =>
    index % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: a text's pieces have no other name
      <a key={index} href={piece} target="_blank" rel="noopener noreferrer nofollow">
        {piece}
      </a>
    ) : (
      piece
    ),
  );

function Text({ content }: { content: string }) {
  const t = useWords(WORDS);
  const [whole, setWhole] = useState(false);
  const short = clipped(content);
  const isLong = short.length < content.length;
  return (
    <>
      <div className="chat-text">{linked(isLong && !whole ? `${short}…` : content)}</div>
      {isLong && (
        <button type="button" className="small bare chat-whole" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? t.less : t.whole(readable(new Blob([content]).size))}
        </button>
      )}
    </>
  );
}

/** "Today", "Yesterday", or the day. */
function Day({ at }: { at: string }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const now = serverNow();
  const before = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  const its = dayOf(at);
  const text =
    its === dayOf(now.toISOString())
      ? t.today
      : its === dayOf(before.toISOString())
        ? t.yesterday
        : dayText(at, language);
  return (
    <div className="chat-day">
      <span>{text}</span>
    </div>
  );
}

interface Source {
  readonly document: string;
  readonly title: string;
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** What an answer was taken from. Whoever sent the message wrote it. */
export const sourcesOf = (metadata: ChatMessage["metadata"]): Source[] => {
  const told = metadata.source_documents;
  if (!Array.isArray(told)) return [];
  return told.slice(0, 5).map((each) => {
    const document = textOf(each?.document);
    return { document, title: textOf(each?.title) || document };
  });
};

function Sources({ metadata }: { metadata: ChatMessage["metadata"] }) {
  const t = useWords(WORDS);
  const sources = sourcesOf(metadata);
  if (sources.length === 0) return null;
  return (
    <ul className="chat-sources plain small" aria-label={t.sources}>
      {sources.map(({ document, title }) => (
        <li key={`${document}/${title}`} className="badge" title={`${document} · ${title}`}>
          <span className="clip">{title || document}</span>
        </li>
      ))}
    </ul>
  );
}

const Pencil = () => (
  <svg
    viewBox="0 0 16 16"
    width="14"
    height="14"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.5"
    strokeLinejoin="round"
  >
    <path d="M10.5 2.5l3 3L6 13l-3.5.5L3 10z" />
  </svg>
);
const Bin = () => (
  <svg
    viewBox="0 0 16 16"
    width="14"
    height="14"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.5"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.7 9h6.6l.7-9M6.7 7v4M9.3 7v4" />
  </svg>
);
const Sheets = () => (
  <svg
    viewBox="0 0 16 16"
    width="14"
    height="14"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.5"
    strokeLinejoin="round"
  >
    <path d="M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3" />
  </svg>
);

function nameOf(message: Pick<ChatMessage, "sender_type" | "sender_id">, names: Names, agent: string): string {
  return message.sender_type === "agent" ? (names.agents.get(message.sender_id) ?? agent) : message.sender_id;
}

interface MessageProps {
  readonly row: Row & { kind: "message" };
  readonly names: Names;
  readonly actions: MessageActions | null;
  readonly flash: boolean;
}

export const Message = memo(function Message({ row, names, actions, flash }: MessageProps) {
  const { message, day, first, fresh, readers } = row;
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const { metadata, content } = message;
  const isAgent = message.sender_type === "agent";
  const isMine = message.sender_type === "user" && message.sender_id === names.me;
  const isDeleted = metadata.deleted_at !== undefined;
  const name = nameOf(message, names, t.agent);
  const file = isDeleted ? null : fileOf(metadata);
  const cost = [
    typeof metadata.tokens_used === "number" ? `${metadata.tokens_used} tokens` : "",
    typeof metadata.latency_ms === "number" ? `${metadata.latency_ms} ms` : "",
  ].filter(Boolean);
  const when = dayAndClock(message.created_at, language);

  return (
    <>
      {day !== null && <Day at={message.created_at} />}
      {fresh && (
        <div className="chat-fresh">
          <span>{t.newMessages}</span>
        </div>
      )}
      {message.sender_type === "system" ? (
        <p className="chat-notice small">{content}</p>
      ) : (
        <article
          className={`chat-message ${isMine ? "mine" : isAgent ? "agent" : "other"}${first ? " first" : ""}${flash ? " flash" : ""}`}
          data-seq={message.seq}
          aria-label={`${isMine ? t.you : name}, ${when}`}
        >
          {!isMine && (first ? <Avatar name={name} robot={isAgent} /> : <span className="chat-avatar-space" />)}
          <div className="chat-body">
            {first && !isMine && (
              <header className="small">
                <b className="clip" title={name}>
                  {name}
                </b>
                {isAgent && <span className="badge info">{t.agent}</span>}
                {!isAgent && names.operator === message.sender_id && <span className="badge good">{t.operator}</span>}
              </header>
            )}
            <div className="chat-bubble">
              {isDeleted ? (
                <em className="muted">{t.deleted}</em>
              ) : (
                <>
                  {file && <Attachment file={file} />}
                  {(!file || content !== file.name) && <Text content={content} />}
                  <Sources metadata={metadata} />
                </>
              )}
            </div>
            <footer className="small muted">
              <time dateTime={message.created_at} title={[when, ...cost].join(" · ")}>
                {clock(message.created_at, language)}
              </time>
              {metadata.edited_at !== undefined && !isDeleted && <span>{t.edited}</span>}
              {metadata.cancelled === true && <span>{t.cancelled}</span>}
              {!isDeleted && actions && (
                <span className="chat-actions">
                  {navigator.clipboard && (
                    <button
                      type="button"
                      className="bare"
                      title={t.copy}
                      aria-label={t.copy}
                      onClick={() => void navigator.clipboard.writeText(content).then(() => tell(t.copied, "good"))}
                    >
                      <Sheets />
                    </button>
                  )}
                  {isMine && message.message_type === "text" && (
                    <button
                      type="button"
                      className="bare"
                      title={t.edit}
                      aria-label={t.edit}
                      onClick={() => actions.edit(message)}
                    >
                      <Pencil />
                    </button>
                  )}
                  {isMine && (
                    <button
                      type="button"
                      className="bare"
                      title={t.remove}
                      aria-label={t.remove}
                      onClick={() => actions.remove(message)}
                    >
                      <Bin />
                    </button>
                  )}
                </span>
              )}
            </footer>
          </div>
        </article>
      )}
      {readers !== "" && <Readers readers={readers} />}
    </>
  );
});

const MOST_READERS = 5;

function Readers({ readers }: { readers: string }) {
  const t = useWords(WORDS);
  const names = readers.split("\n");
  const told = t.readBy(names.join(", "));
  return (
    <p className="chat-readers small muted" title={told}>
      <span className="quiet">{told}</span>
      {names.slice(0, MOST_READERS).map((name) => (
        <Avatar key={name} name={name} small />
      ))}
      {names.length > MOST_READERS && <span aria-hidden="true">+{names.length - MOST_READERS}</span>}
    </p>
  );
}

export function Streaming({ stream, first, names }: { stream: ChatStream; first: boolean; names: Names }) {
  const t = useWords(WORDS);
  const name = nameOf(stream, names, t.agent);
  const isBroken = stream.error !== undefined; // nothing of it is stored
  return (
    <article
      className={`chat-message agent ${isBroken ? "failed" : "streaming"}${first ? " first" : ""}`}
      aria-busy={!isBroken}
      aria-label={isBroken ? name : `${name} ${t.answering}`}
    >
      {first ? <Avatar name={name} robot /> : <span className="chat-avatar-space" />}
      <div className="chat-body">
        {first && (
          <header className="small">
            <b className="clip" title={name}>
              {name}
            </b>
            <span className="badge info">{t.agent}</span>
          </header>
        )}
        {(stream.content !== "" || !isBroken) && (
          <div className="chat-bubble">
            <div className="chat-text">
              {stream.content}
              {!isBroken && <span className="chat-caret" aria-hidden="true" />}
            </div>
          </div>
        )}
        <footer className="small">
          {isBroken && (
            <span className="chat-fault" role="alert">
              {t.agentFailed}
            </span>
          )}
        </footer>
      </div>
    </article>
  );
}

export function Pending({
  pending,
  first,
  connected,
  onRetry,
  onDiscard,
}: {
  pending: PendingMessage;
  first: boolean;
  connected: boolean;
  onRetry: () => void;
  onDiscard: () => void;
}) {
  const t = useWords(WORDS);
  const failed = pending.error !== undefined;
  return (
    <article
      className={`chat-message mine pending${first ? " first" : ""}${failed ? " failed" : ""}`}
      aria-label={`${t.you}, ${failed ? t.notSent : t.sending}`}
    >
      <div className="chat-body">
        <div className="chat-bubble">
          <Text content={pending.content} />
        </div>
        <footer className="small muted" role="status">
          {failed ? (
            <>
              <span className="chat-fault">
                {t.notSent}: {explain(pending.error, t)}
              </span>
              <button type="button" className="small" onClick={onRetry}>
                {t.sendAgain}
              </button>
              <button type="button" className="small bare" onClick={onDiscard}>
                {t.discard}
              </button>
            </>
          ) : (
            <span>{connected ? t.sending : t.waiting}</span>
          )}
        </footer>
      </div>
    </article>
  );
}

export function NoticeLine({ notice }: { notice: Notice }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const told: Record<string, string> = {
    operator_joined: t.tookOver(notice.userId),
    agent_joined: t.agentBack,
    handover_requested: t.handoverAsked,
    session_archived: t.archivedBy(notice.userId),
    participant_added: t.added(notice.userId),
    participant_removed: t.removedPerson(notice.userId),
  };
  return (
    <p className="chat-notice small">
      {told[notice.event] ?? notice.event} · <time dateTime={notice.at}>{clock(notice.at, language)}</time>
    </p>
  );
}
