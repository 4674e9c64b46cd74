import { useCallback, useEffect, useState } from "react";
import { request } from "../shell/http";

export interface People {
  readonly names: readonly string[];
  /** How far each has read. */
  readonly reads: Readonly<Record<string, number>>;
}

interface Answer {
  readonly participants: readonly { readonly user_id: string; readonly last_read_seq: number }[];
}

/** Who takes part in a session, asked whenever it is joined, and by the function. Null until it is known. */
export const usePeople = (sessionId: string, joined: boolean): [People | null, () => void] => {
  const [people, setPeople] = useState<People | null>(null);
  const ask = useCallback(() => {
    request<Answer>(`/api/chat/sessions/${encodeURIComponent(sessionId)}/participants`).then(
      ({ participants }) =>
        setPeople({
          names: participants.map((each) => each.user_id),
          reads: Object.fromEntries(participants.map((each) => [each.user_id, each.last_read_seq])),
        }),
      () => undefined, // the session itself names them too
    );
  }, [sessionId]);
  useEffect(() => {
    if (joined) ask();
  }, [joined, ask]);
  return [people, ask];
};
