import type { Connection } from "atrium-client";
import { useEffect, useRef, useState } from "react";
import type { Notice } from "./rows";

const MOST = 100;
/** Who is here and who is not, dots show. */
const SHOWN = new Set([
  "operator_joined",
  "agent_joined",
  "handover_requested",
  "session_archived",
  "participant_added",
  "participant_removed",
]);

interface Told {
  readonly event: string;
  readonly session_id: string;
  readonly user_id: string;
  readonly timestamp: string;
}

/** What becomes of a session while it is open here; `listener` is told of each as it comes. */
export const useNotices = (
  connection: Connection<"/chat">,
  sessionId: string,
  listener: (notice: Notice) => void,
): readonly Notice[] => {
  const [notices, setNotices] = useState<readonly Notice[]>([]);
  const newest = useRef(listener);
  useEffect(() => {
    newest.current = listener;
  });
  useEffect(
    () =>
      connection.on("system", (told: Told) => {
        if (told.session_id !== sessionId || !SHOWN.has(told.event)) return;
        const { event, user_id: userId, timestamp: at } = told;
        const notice = { key: `${event} ${at} ${userId}`, event, userId, at };
        setNotices((known) => [...known.filter(({ key }) => key !== notice.key), notice].slice(-MOST));
        newest.current(notice);
      }),
    [connection, sessionId],
  );
  return notices;
};
