import type { ChatMessage, ChatStreamChunk, ChatStreamEnd, ChatStreamStart } from "./protocol.js";

/** An answer that is being given. */
export interface ChatStream {
  message_id: string;
  sender_type: ChatMessage["sender_type"];
  sender_id: string;
  content: string;
}

interface Stream extends ChatStream {
  next: number;
}

const MOST = 50;

/** The answers of one session while they are given. */
export class Streams {
  #streams = new Map<string, Stream>();

  list(): ChatStream[] {
    return [...this.#streams.values()];
  }

  /** One that is told again begins anew. */
  start(event: ChatStreamStart): void {
    if (this.#streams.size < MOST) this.#streams.set(event.message_id, { ...event, content: "", next: 0 });
  }

  /** Of a long answer that is told again the first chunk has the index of the last one in it. */
  chunk({ message_id, content, index }: ChatStreamChunk): void {
    const stream = this.#streams.get(message_id);
    if (!stream || index < stream.next) return;
    this.#streams.set(message_id, { ...stream, content: stream.content + content, next: index + 1 });
  }

  /** The message that it became, as history has it; undefined where nothing was said. */
  end(
    { message_id, session_id, content, seq, created_at, ...told }: ChatStreamEnd,
    agent: string,
  ): ChatMessage | undefined {
    const stream = this.#streams.get(message_id);
    this.#streams.delete(message_id);
    if (seq === undefined) return undefined;
    return {
      message_id,
      session_id,
      seq,
      sender_type: "agent",
      sender_id: stream?.sender_id ?? agent,
      message_type: "text",
      content: content ?? "",
      metadata: told,
      created_at: created_at ?? "",
    };
  }

  drop(messageId: string): void {
    this.#streams.delete(messageId);
  }

  clear(): void {
    this.#streams.clear();
  }
}
