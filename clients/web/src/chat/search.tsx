import { useEffect, useState } from "react";
import { request } from "../shell/http";
import { dayAndClock } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { explain } from "./faults";
import { parts } from "./marked";
import { WORDS } from "./words";

export interface Hit {
  readonly message_id: string;
  readonly session_id: string;
  readonly seq: number;
  readonly sender_type: string;
  readonly sender_id: string;
  readonly highlight: string;
  readonly created_at: string;
}

const AFTER_MS = 250; // of no more typing
const MOST = 50;

type Found =
  | { readonly query: string; readonly hits: readonly Hit[] }
  | { readonly query: string; readonly fault: unknown };

/** Messages that hold every word. `query` is not empty; `sessionId` limits it to one session. */
export function SearchResults({
  query,
  sessionId,
  titleOf,
  nameOf,
  onPick,
}: {
  query: string;
  sessionId: string | null;
  titleOf: (sessionId: string) => string;
  nameOf: (hit: Hit) => string;
  onPick: (hit: Hit) => void;
}) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [found, setFound] = useState<Found | null>(null);
  useEffect(() => {
    const ended = new AbortController();
    const timer = setTimeout(() => {
      const scope = sessionId === null ? "" : `&session_id=${encodeURIComponent(sessionId)}`;
      request<{ hits: Hit[] }>(`/api/chat/search?query=${encodeURIComponent(query)}&limit=${MOST}${scope}`, {
        signal: ended.signal,
      }).then(
        ({ hits }) => setFound({ query, hits }),
        (fault) => ended.signal.aborted || setFound({ query, fault }),
      );
    }, AFTER_MS);
    return () => {
      clearTimeout(timer);
      ended.abort();
    };
  }, [query, sessionId]);

  const current = found?.query === query;
  const hits = found && "hits" in found ? found.hits : [];
  return (
    <div className="chat-results">
      <p className="small muted chat-found" role="status">
        {found === null || !current ? t.searching : "fault" in found ? explain(found.fault, t) : t.found(hits.length)}
      </p>
      <ul className="plain">
        {hits.map((hit) => (
          <li key={hit.message_id}>
            <button type="button" className="chat-hit" onClick={() => onPick(hit)}>
              <span className="small muted chat-hit-head">
                <span className="clip">
                  {nameOf(hit)}
                  {sessionId === null && ` · ${titleOf(hit.session_id)}`}
                </span>
                <time dateTime={hit.created_at}>{dayAndClock(hit.created_at, language)}</time>
              </span>
              <span className="chat-hit-text">
                {parts(hit.highlight).map(({ text, marked }, index) =>
                  // biome-ignore lint/suspicious/noArrayIndexKey: pieces of one text
                  marked ? <mark key={index}>{text}</mark> : text,
                )}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
