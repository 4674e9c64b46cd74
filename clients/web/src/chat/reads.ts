import { useEffect, useState } from "react";
import { request } from "../shell/http";

interface Answer {
  readonly participants: readonly { readonly user_id: string; readonly last_read_seq: number }[];
}

/** How far each participant of a session has read, asked whenever it is joined: later the session tells. */
export const useReads = (sessionId: string, joined: boolean): Readonly<Record<string, number>> | null => {
  const [reads, setReads] = useState<Readonly<Record<string, number>> | null>(null);
  useEffect(() => {
    if (!joined) return;
    request<Answer>(`/api/chat/sessions/${encodeURIComponent(sessionId)}/participants`).then(
      ({ participants }) =>
        setReads(Object.fromEntries(participants.map((each) => [each.user_id, each.last_read_seq]))),
      () => undefined, // who reads on is told
    );
  }, [sessionId, joined]);
  return reads;
};
