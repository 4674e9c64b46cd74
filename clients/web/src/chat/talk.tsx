import { AtriumError, type ChatMessage, type Connection, type SessionInfo } from "atrium-client";
import { useCallback, useEffect, useMemo, useState } from "react";
import { request } from "../shell/http";
import type { LightState } from "../shell/light";
import { useWords } from "../shell/words";
import { Bar } from "./bar";
import { tellFault } from "./faults";
import type { Target } from "./history";
import { Joined } from "./joined";
import type { Names } from "./message";
import { Preview } from "./preview";
import { titleOf } from "./session-list";
import { wouldTakeOver } from "./taking-over";
import { WORDS } from "./words";

export interface TalkProps {
  readonly connection: Connection<"/chat">;
  readonly light: LightState;
  readonly sessionId: string;
  readonly me: string;
  readonly staff: boolean;
  readonly operator: boolean;
  readonly agents: ReadonlyMap<string, string>;
  readonly jump: Target | null;
  readonly detailed: boolean;
  readonly onDetails: (shown: boolean) => void;
  readonly onBack: () => void;
  readonly onSaid: (message: ChatMessage) => void;
  readonly onSession: (session: SessionInfo) => void;
  /** I took it over. */
  readonly onTaken: () => void;
  readonly onRead: (sessionId: string) => void;
  readonly onGone: (sessionId: string) => void;
}

const AGAIN_MS = 2000;

/** One session: an operator reads it first, everybody else is in it at once. */
export function Talk(props: TalkProps) {
  const { sessionId, me, operator, connection } = props;
  const t = useWords(WORDS);
  const [read, setRead] = useState<SessionInfo | "unknown" | null>(operator ? null : "unknown");
  const [round, setRound] = useState(0);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new round asks again
  useEffect(() => {
    if (!operator) return;
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      request<SessionInfo>(`/api/chat/sessions/${encodeURIComponent(sessionId)}`, { signal: ended.signal }).then(
        setRead,
        (error) => {
          if (ended.signal.aborted) return;
          if (error instanceof AtriumError && error.code === "UNREACHABLE") timer = setTimeout(look, AGAIN_MS);
          else setRead("unknown"); // joining makes it, or tells why not
        },
      );
    };
    look();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [operator, sessionId, round]);

  // A person is asked for, or was, while it is read: why, and how soon, is read anew.
  useEffect(() => {
    if (!operator) return;
    return connection.on("handover_requested", (told) => {
      if (told.session_id === sessionId) setRound((before) => before + 1);
    });
  }, [operator, connection, sessionId]);

  const reread = useCallback(() => {
    setRead(null); // not in it for a moment: to come back would be to take over again
    setRound((before) => before + 1);
  }, []);

  const names = useMemo<Names>(() => ({ me, agents: props.agents, operator: null }), [me, props.agents]);
  if (read === null) return <Opening {...props} />;
  if (read === "unknown" || !wouldTakeOver(read, me)) {
    return <Joined {...props} onGivenBack={reread} />;
  }
  const takeOver = async (): Promise<void> => {
    try {
      await connection.call("handover_accept", { session_id: sessionId });
      setRead({ ...read, operator_id: me, handover: null });
      props.onSession({ ...read, operator_id: me, handover: null });
      props.onTaken();
    } catch (error) {
      tellFault(error, t);
      reread();
    }
  };
  return (
    <section className="chat-talk" aria-label={titleOf({ ...read, agent_name: read.agent?.name ?? null }, me, t)}>
      <Bar session={read} {...props} online={0} reading />
      <Preview session={read} names={names} onTakeOver={takeOver} />
    </section>
  );
}

function Opening(props: TalkProps) {
  const t = useWords(WORDS);
  return (
    <section className="chat-talk" aria-busy="true">
      <Bar session={null} {...props} online={0} />
      <p className="empty">{t.opening}</p>
    </section>
  );
}
