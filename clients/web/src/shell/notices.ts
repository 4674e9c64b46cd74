/** What administrators tell everybody who is on a page, and that one of them ended this connection. */
import type { Connection } from "atrium-client";
import { useEffect } from "react";
import { tell } from "./toasts";
import { wordsNow } from "./words";

const MOST_LETTERS = 300;
const SHOWN_MS = 15_000;
const ENDED = "DISCONNECTED";

const WORDS = {
  en: { ended: (why: string) => `An administrator ended the connection: ${why}` },
  ko: { ended: (why: string) => `관리자가 연결을 끊었습니다: ${why}` },
};

const cut = (text: string): string => (text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)}…` : text);

type Heard = Pick<Connection, "on">;

/** That an administrator ended the connection, and why; null where it ended otherwise. */
export const endedBy = (error: { code: string; message: string } | undefined): string | null =>
  error?.code === ENDED ? wordsNow(WORDS).ended(cut(error.message)) : null;

/** For connections that are made outside React. The result stops it. */
export const hearNotices = (connection: Heard): (() => void) => {
  const stops = [
    connection.on("maintenance", (told: unknown) => {
      const message = broadcast(told);
      if (message !== null) tell(cut(message), "info", SHOWN_MS);
    }),
    connection.on("disconnecting_reason", ({ code, message }) => {
      const why = endedBy({ code, message: String(message) });
      if (why !== null) tell(why, "bad", SHOWN_MS);
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
};

export const useNotices = (connection: Heard): void => useEffect(() => hearNotices(connection), [connection]);

/** Null where it is none: publishers name their events as they like, but theirs come with a channel. */
const broadcast = (told: unknown): string | null => {
  if (typeof told !== "object" || told === null || "channel" in told || !("message" in told)) return null;
  const { message } = told;
  return typeof message === "string" && message.trim() !== "" ? message : null;
};
