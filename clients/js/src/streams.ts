import { AtriumError } from "./errors.js";
import type { ChatMessage, ChatStreamChunk, ChatStreamEnd, ChatStreamStart } from "./protocol.js";

/** An answer that is being given, or broke off: none of that is stored, and it is shown until the next message. */
export interface ChatStream {
  message_id: string;
  sender_type: ChatMessage["sender_type"];
  sender_id: string;
  content: string;
  /** Why it broke off. */
  error?: AtriumError;
}

interface Stream extends ChatStream {
  next: number;
}

const MOST = 50;

/** The answers of one session while they are given, by their message. */
export class Streams extends Map<string, Stream> {
  /** One that is told again begins anew. */
  start(event: ChatStreamStart): void {
    if (this.size < MOST) this.set(event.message_id, { ...event, content: "", next: 0 });
  }

  /** Of a long answer that is told again the first chunk has the index of the last one in it. */
  chunk({ message_id, content, index }: ChatStreamChunk): void {
    const stream = this.get(message_id);
    if (!stream || index < stream.next) return;
    this.set(message_id, { ...stream, content: stream.content + content, next: index + 1 });
  }

  /** The message that it became, as history has it; undefined where nothing was said. */
  end(
    { message_id, session_id, content, seq, created_at, error, ...told }: ChatStreamEnd,
    agent: string,
  ): ChatMessage | undefined {
    const stream = this.get(message_id);
    this.delete(message_id);
    const said = {
      message_id,
      sender_type: "agent" as const,
      sender_id: stream?.sender_id ?? agent,
      content: content ?? stream?.content ?? "",
    };
    if (error && this.size < MOST) {
      this.set(message_id, { ...said, error: AtriumError.from(error), next: Infinity });
    }
    if (seq === undefined) return undefined;
    return { ...said, session_id, seq, message_type: "text", metadata: told, created_at: created_at ?? "" };
  }

  /** A message was told: this one is given no more, and what broke off before it is over. */
  drop(messageId: string): void {
    for (const [id, { error }] of this) if (error || id === messageId) this.delete(id);
  }
}
