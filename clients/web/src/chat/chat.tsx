import type { ChatMessage, SessionInfo } from "atrium-client";
import { useConnection } from "atrium-client/react";
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { request } from "../shell/http";
import { freshToken, usePerson } from "../shell/identity";
import { Light, type LightState } from "../shell/light";
import { hearNotices } from "../shell/notices";
import { tell } from "../shell/toasts";
import { useWords } from "../shell/words";
import { go, useAddressed } from "./address";
import { explain } from "./faults";
import type { Target } from "./history";
import { type AgentInfo, NewSession } from "./new-session";
import { type Hit, SearchResults } from "./search";
import { setServerTime } from "./server-clock";
import { SessionList, titleOf } from "./session-list";
import { type Heard, Sessions, type View } from "./sessions";
import { Talk } from "./talk";
import { WORDS } from "./words";

/** As the bank's client: five tries, then HTTP; and a quiet try each half minute. */
const CONNECT = { namespace: "/chat", token: freshToken, policy: "bank", probe: 30_000 } as const;
const REQUESTS_MS = 15_000; // of what another operator took, nobody tells
const AGENTS_MS = 5000;

/** The lists, made when they are first looked at, for as long as the page is there. */
const useLists = (): ((view: View) => Sessions) => {
  const [lists] = useState(() => new Map<View, Sessions>());
  useEffect(
    () => () => {
      for (const each of lists.values()) each.close();
      lists.clear();
    },
    [lists],
  );
  return useCallback(
    (view) => {
      const found = lists.get(view) ?? new Sessions(view);
      lists.set(view, found);
      return found;
    },
    [lists],
  );
};

export function Chat() {
  const t = useWords(WORDS);
  const person = usePerson();
  const me = person?.userId ?? "";
  const operator = person?.roles.includes("operator") ?? false;
  const staff = operator || (person?.roles.includes("admin") ?? false);
  const { connection, state, error } = useConnection(CONNECT);
  useEffect(() => connection && hearNotices(connection), [connection]);
  const light: LightState = state === "closed" ? "failed" : state;

  const selected = useAddressed();
  const [view, setView] = useState<View>("mine");
  const [jump, setJump] = useState<{ sessionId: string; target: Target } | null>(null);
  const [detailed, setDetailed] = useState(false);
  const [making, setMaking] = useState(false);
  const [query, setQuery] = useState("");
  const [here, setHere] = useState(false);
  const [asked, setAsked] = useState({ count: 0, text: "" });
  const side = useRef<HTMLElement>(null);

  const listOf = useLists();
  const views = useMemo<View[]>(
    () => (staff ? ["mine", "requests", "everyone", "archived"] : ["mine", "archived"]),
    [staff],
  );
  const mine = listOf("mine");
  const requests = staff ? listOf("requests") : null;
  const { sessions: mineShown } = useSyncExternalStore(mine.subscribe, mine.snapshot);
  const requested = useSyncExternalStore(requests?.subscribe ?? mine.subscribe, requests?.snapshot ?? mine.snapshot);
  const waiting = requests ? requested.total : 0;

  // -- agents -------------------------------------------------------------------------------------------------------

  const [offered, setOffered] = useState<{ agents: readonly AgentInfo[]; default_agent_id: number | null } | null>(
    null,
  );
  useEffect(() => {
    if (offered !== null) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ended = new AbortController();
    const ask = () =>
      request<NonNullable<typeof offered>>("/api/chat/agents", { signal: ended.signal }).then(setOffered, () => {
        if (!ended.signal.aborted) timer = setTimeout(ask, AGENTS_MS);
      });
    void ask();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [offered]);
  const agents = useMemo(() => new Map((offered?.agents ?? []).map(({ id, name }) => [String(id), name])), [offered]);

  // -- what is heard ------------------------------------------------------------------------------------------------

  useEffect(() => {
    void listOf(view).more();
  }, [listOf, view]);

  useEffect(() => {
    void mine.more();
    if (requests) void requests.more();
  }, [mine, requests]);

  const trimmed = query.trim().slice(0, 200);
  const isListed = view === "requests" && trimmed === "";

  useEffect(() => {
    if (!connection) return;
    const refresh = () => {
      for (const each of views) if (each === "mine" || each === "requests" || each === view) listOf(each).refresh();
    };
    let dropped = false;
    const stops = [
      connection.onState((now) => {
        if (now === "connected" && dropped && !connection.recovered) refresh();
        dropped ||= now !== "connected";
      }),
      connection.on("connected", (greeting: { server_time?: unknown }) => setServerTime(greeting?.server_time)),
      connection.on("notification", (told: Heard & { event: string; user_id?: string }) => {
        if (told.event === "message") {
          for (const each of views) if (each !== "archived") listOf(each).heard(told, each === "mine");
        } else if (told.event === "invited") {
          tell(t.invitedYou(String(told.user_id)));
          mine.refresh();
        }
      }),
      connection.on("handover_requested", (told) => {
        const text = `${t.wantsPerson(told.user_id)} · ${t.urgency}: ${t.urgencies[told.urgency] ?? told.urgency}`;
        // Where it is seen anyway, a toast would only cover it; who hears the page is told all the same.
        if (told.session_id === selected || (isListed && side.current?.checkVisibility()))
          setAsked(({ count }) => ({ count: count + 1, text }));
        else tell(text);
        requests?.refresh();
      }),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }, [connection, listOf, views, view, mine, requests, selected, isListed, t]);

  useEffect(() => {
    if (!requests) return;
    const timer = setInterval(() => document.visibilityState === "visible" && requests.refresh(), REQUESTS_MS);
    return () => clearInterval(timer);
  }, [requests]);

  const unread = mineShown.reduce((sum, each) => sum + (each.session_id === selected ? 0 : each.unread_count), 0);
  useEffect(() => {
    document.title = unread > 0 ? `(${unread > 99 ? "99+" : unread}) Chat · Atrium` : "Chat · Atrium";
  }, [unread]);

  // -- what the open session tells its lists ------------------------------------------------------------------------

  const said = useCallback(
    (message: ChatMessage) => {
      const content = message.content;
      for (const each of views) {
        if (each !== "archived" && each !== "requests") listOf(each).heard({ ...message, content }, false);
      }
    },
    [listOf, views],
  );
  const read = useCallback(
    (sessionId: string) => {
      for (const each of views) listOf(each).change(sessionId, { unread_count: 0 });
    },
    [listOf, views],
  );
  const known = useCallback(
    (session: SessionInfo) => {
      const { session_id, title, operator_id, status } = session;
      const handover = operator_id === null ? session.handover : null;
      if (operator_id !== me) mine.release(session_id);
      else if (status === "active" && !session.participants.includes(me)) {
        const listed = [requests, listOf("everyone")].map((each) => each?.get(session_id)).find(Boolean);
        if (listed) mine.keep(listed);
      }
      if (status === "archived") {
        mine.remove(session_id);
        listOf("archived").refresh();
      } else if (session.participants.includes(me) && !mine.get(session_id)) mine.refresh();
      for (const each of views) listOf(each).change(session_id, { title, operator_id, status, handover });
      if (operator_id !== null || status === "archived") requests?.remove(session_id);
    },
    [listOf, views, mine, requests, me],
  );
  const taken = useCallback(() => {
    setView((shown) => (shown === "requests" ? "mine" : shown)); // it is not among those who wait any more
  }, []);
  const gone = useCallback(
    (sessionId: string) => {
      for (const each of views) listOf(each).remove(sessionId);
      go(null, { replace: true });
    },
    [listOf, views],
  );
  const pick = useCallback((sessionId: string) => {
    setJump(null);
    go(sessionId);
  }, []);
  const picked = (hit: Hit): void => {
    setJump({ sessionId: hit.session_id, target: { seq: hit.seq } });
    go(hit.session_id);
  };

  const titleOfId = (sessionId: string): string => {
    const found = views.map((each) => listOf(each).get(sessionId)).find(Boolean);
    return found ? titleOf(found, me, t) : t.untitled(sessionId.replace(/^sess_/, "").slice(0, 12));
  };
  const empty = { mine: t.noSessions, archived: t.noArchived, requests: t.noRequests, everyone: t.noSessions }[view];

  return (
    <div className="chat" data-pane={selected === null ? "list" : "talk"}>
      <nav ref={side} className="chat-side" aria-label={t.sessions}>
        <p className="quiet" aria-live="assertive">
          <span key={asked.count}>{asked.text}</span>
        </p>
        <header className="chat-side-head">
          <Light state={light} onRetry={() => connection?.retry()} />
          <button type="button" className="primary small push" onClick={() => setMaking(true)}>
            + {t.newSession}
          </button>
        </header>
        {light === "failed" && error && (
          <p className="note bad small chat-why" role="alert">
            {explain(error, t)}
          </p>
        )}
        <search className="chat-search">
          <input
            type="search"
            value={query}
            maxLength={200}
            aria-label={t.search}
            placeholder={t.search}
            onChange={(event) => setQuery(event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && setQuery("")}
          />
          {trimmed !== "" && selected !== null && (
            <label className="inline small">
              <input type="checkbox" checked={here} onChange={(event) => setHere(event.target.checked)} />{" "}
              {t.searchHere}
            </label>
          )}
        </search>
        {trimmed !== "" ? (
          <SearchResults
            query={trimmed}
            sessionId={here ? selected : null}
            titleOf={titleOfId}
            nameOf={(hit) => (hit.sender_type === "agent" ? (agents.get(hit.sender_id) ?? t.agent) : hit.sender_id)}
            onPick={picked}
          />
        ) : (
          <>
            <fieldset className="chat-views" aria-label={t.which}>
              {views.map((each) => (
                <button
                  key={each}
                  type="button"
                  className="bare small"
                  aria-pressed={each === view}
                  onClick={() => setView(each)}
                >
                  {t[each]}
                  {each === "requests" && waiting > 0 && <span className="badge bad number">{waiting}</span>}
                </button>
              ))}
            </fieldset>
            <SessionList
              key={view}
              sessions={listOf(view)}
              me={me}
              staff={staff}
              selected={selected}
              onPick={pick}
              empty={empty}
              hint={view === "mine" ? t.noSessionsHint : null}
            />
          </>
        )}
      </nav>
      {selected === null || !connection ? (
        <section className="chat-talk chat-nothing">
          <div className="empty">
            <h1>{selected === null ? t.pick : t.opening}</h1>
            {selected === null && <p>{t.pickHint}</p>}
          </div>
        </section>
      ) : (
        <Talk
          key={selected}
          connection={connection}
          light={light}
          sessionId={selected}
          me={me}
          staff={staff}
          operator={operator}
          agents={agents}
          jump={jump?.sessionId === selected ? jump.target : null}
          detailed={detailed}
          onDetails={setDetailed}
          onBack={() => go(null)}
          onSaid={said}
          onSession={known}
          onTaken={taken}
          onRead={read}
          onGone={gone}
        />
      )}
      {making && (
        <NewSession
          agents={offered?.agents ?? []}
          defaultAgent={offered?.default_agent_id ?? null}
          onClose={() => setMaking(false)}
          onMade={(sessionId) => {
            setMaking(false);
            setView("mine");
            mine.refresh();
            pick(sessionId);
          }}
        />
      )}
    </div>
  );
}
