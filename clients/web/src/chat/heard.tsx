import type { ChatMessage } from "atrium-client";
import { useRef } from "react";
import { useWords } from "../shell/words";
import type { Names } from "./message";
import { WORDS } from "./words";

const READ_OUT_CHARS = 200;

/** What others say, for who hears the page: each whole message once, not the pieces of an answer. */
export function Heard({ messages, names }: { messages: readonly ChatMessage[]; names: Names }) {
  const t = useWords(WORDS);
  const newest = messages.at(-1);
  const first = useRef(newest?.seq);
  first.current ??= newest?.seq;
  const isNews = newest !== undefined && newest.seq > (first.current ?? 0) && newest.sender_id !== names.me;
  const name =
    newest?.sender_type === "agent" ? (names.agents.get(newest.sender_id) ?? t.agent) : (newest?.sender_id ?? "");
  return (
    <p className="quiet" aria-live="polite">
      {isNews ? t.said(name, newest.content.slice(0, READ_OUT_CHARS)) : ""}
    </p>
  );
}
