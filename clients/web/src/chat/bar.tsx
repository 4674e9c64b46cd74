import type { SessionInfo } from "atrium-client";
import type { ReactNode } from "react";
import { Light } from "../shell/light";
import { useWords } from "../shell/words";
import { Avatar } from "./avatar";
import { titleOf } from "./session-list";
import type { TalkProps } from "./talk";
import { WORDS } from "./words";

const Back = () => (
  <svg
    viewBox="0 0 20 20"
    width="20"
    height="20"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.8"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M12.5 4.5L7 10l5.5 5.5" />
  </svg>
);
const Panel = () => (
  <svg
    viewBox="0 0 20 20"
    width="20"
    height="20"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.6"
    strokeLinejoin="round"
  >
    <path d="M3 4h14v12H3zM12.5 4v12" />
  </svg>
);

/** Whose conversation it is, and who answers there now. */
export function Bar({
  session,
  me,
  online,
  light,
  connection,
  detailed,
  onDetails,
  onBack,
  reading = false,
  children,
}: Pick<TalkProps, "me" | "light" | "connection" | "detailed" | "onDetails" | "onBack"> & {
  session: SessionInfo | null;
  online: number;
  /** There are no details of what is only read. */
  reading?: boolean;
  children?: ReactNode;
}) {
  const t = useWords(WORDS);
  const agent = session?.agent?.name ?? null;
  const title = session ? titleOf({ ...session, agent_name: agent }, me, t) : "…";
  const answers = session?.operator_id
    ? t.operatorHere(session.operator_id)
    : (agent ?? (session ? t.nobodyAnswers : ""));
  return (
    <header className="chat-bar">
      <button type="button" className="bare chat-back" aria-label={t.back} title={t.back} onClick={onBack}>
        <Back />
      </button>
      <Avatar
        name={session && session.user_id !== me ? session.user_id : (agent ?? title)}
        robot={agent !== null && session?.operator_id === null && session.user_id === me}
      />
      <div className="chat-heading">
        <h1 className="clip" title={title}>
          {title}
        </h1>
        <p className="small muted clip">
          {answers}
          {online > 0 && ` · ${t.onlineCount(online)}`}
        </p>
      </div>
      <div className="chat-bar-tools">
        {children}
        <span className="chat-light-here">
          <Light state={light} onRetry={() => connection.retry()} />
        </span>
        {!reading && (
          <button
            type="button"
            className="bare"
            aria-label={t.details}
            title={t.details}
            aria-pressed={detailed}
            disabled={session === null}
            onClick={() => onDetails(!detailed)}
          >
            <Panel />
          </button>
        )}
      </div>
    </header>
  );
}
