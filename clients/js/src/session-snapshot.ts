// What a session is given and what it shows; what it does is in `session.ts`.
import type { AtriumError } from "./errors.js";
import type { MessageStorage, PendingMessage } from "./outbox.js";
import type { ChatStream } from "./streams.js";
import type { ChatMessage, SessionInfo } from "./types.js";

export interface SessionOptions {
  /** Where unsent messages survive a reload, such as `localStorage`. */
  storage?: MessageStorage | undefined;
  /** Whether it goes on over HTTP when the socket fails. Default: true. */
  fallback?: boolean | undefined;
  /** Milliseconds between polls over HTTP. Default: 3,000. */
  pollInterval?: number | undefined;
  /** Messages kept in memory, beside those of `loadOlder`. Default: 2,000. */
  history?: number | undefined;
}

export interface SessionSnapshot {
  /** `fallback`: over HTTP. `failed`: `error` says why it may not be joined. */
  status: "joining" | "joined" | "fallback" | "failed";
  error: AtriumError | undefined;
  session: SessionInfo | undefined;
  participants: readonly string[];
  /** User ids of who has joined it. */
  online: readonly string[];
  /** In the order of `seq`, without gaps. What was edited in a drop is found among the newest 50 of those known before. */
  messages: readonly ChatMessage[];
  /** There are messages before the first one: `loadOlder`. */
  hasOlder: boolean;
  /** Said here, and not stored yet. */
  pending: readonly PendingMessage[];
  /** Answers that are being given; one that broke off stays, with its `error`, until the next message. */
  streams: readonly ChatStream[];
  /** User ids of who types. */
  typing: readonly string[];
  /** How far each user has read, where it was told. */
  reads: Readonly<Record<string, number>>;
  lastSeq: number;
}

/** `replayed`: it was said before this client joined. */
export type MessageListener = (message: ChatMessage, replayed: boolean) => void;
