/** What the history shows, line by line, of what a session holds. Pure: the same in, the same out. */
import type { ChatMessage, ChatStream, PendingMessage } from "atrium-client";

/** What became of the session while it was open here. */
export interface Notice {
  readonly key: string;
  readonly event: string;
  readonly userId: string;
  readonly at: string; // as messages' `created_at`, by the same clock: it stands among them
}

export type Row =
  | {
      readonly kind: "message";
      readonly key: string;
      readonly message: ChatMessage;
      readonly day: string | null;
      readonly first: boolean;
      readonly fresh: boolean;
      readonly readers: string;
    }
  | { readonly kind: "notice"; readonly key: string; readonly notice: Notice }
  | { readonly kind: "stream"; readonly key: string; readonly stream: ChatStream; readonly first: boolean }
  | { readonly kind: "pending"; readonly key: string; readonly pending: PendingMessage; readonly first: boolean };

const TOGETHER_MS = 5 * 60_000;

/** The local day of a time, as text that differs for each. */
export const dayOf = (at: string): string => {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "" : `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
};

const together = (one: ChatMessage | undefined, other: ChatMessage): boolean =>
  one !== undefined &&
  one.sender_id === other.sender_id &&
  one.sender_type === other.sender_type &&
  Math.abs(Date.parse(other.created_at) - Date.parse(one.created_at)) < TOGETHER_MS;

export interface Said {
  readonly messages: readonly ChatMessage[];
  readonly pending: readonly PendingMessage[];
  readonly streams: readonly ChatStream[];
  readonly reads: Readonly<Record<string, number>>;
  readonly notices: readonly Notice[];
  readonly me: string;
  /** How far I had read when it was opened. */
  readonly unreadAfter: number | null;
}

/** By `seq`, the names of those, not me, who have read just so far; a line each. Who said it has, which goes without saying. */
export const readersBySeq = (
  messages: readonly ChatMessage[],
  reads: Said["reads"],
  me: string,
): Map<number, string> => {
  const found = new Map<number, string>();
  const oldest = messages[0]?.seq ?? 0;
  const newest = messages.at(-1)?.seq ?? 0;
  const furthest = new Map(Object.entries(reads));
  for (const { sender_type, sender_id, seq } of messages) {
    if (sender_type === "user" && seq > (furthest.get(sender_id) ?? 0)) furthest.set(sender_id, seq);
  }
  for (const [user, seq] of furthest) {
    const at = Math.min(seq, newest);
    if (user === me || at < oldest || at === 0 || messages[at - oldest]?.sender_id === user) continue;
    const before = found.get(at);
    found.set(at, before === undefined ? user : `${before}\n${user}`);
  }
  return found;
};

/** Keeps the rows of before where nothing changed in them, so that only what did is drawn again. */
export class Rows {
  #before = new Map<string, Row & { kind: "message" }>();

  of({ messages, pending, streams, reads, notices, me, unreadAfter }: Said): Row[] {
    const rows: Row[] = [];
    const kept = new Map<string, Row & { kind: "message" }>();
    const readers = readersBySeq(messages, reads, me);
    let previous: ChatMessage | undefined;
    let previousDay = "";
    let next = 0;
    const tell = (until: string | null): void => {
      for (
        let notice = notices[next];
        notice !== undefined && (until === null || notice.at < until);
        notice = notices[++next]
      ) {
        rows.push({ kind: "notice", key: notice.key, notice });
        previous = undefined;
      }
    };
    for (const message of messages) {
      tell(message.created_at);
      const today = dayOf(message.created_at);
      const day = today === previousDay ? null : today;
      const first = day !== null || !together(previous, message);
      const fresh = unreadAfter !== null && message.seq === unreadAfter + 1 && message.sender_id !== me;
      const read = readers.get(message.seq) ?? "";
      const known = this.#before.get(message.message_id);
      const row =
        known?.message === message &&
        known.day === day &&
        known.first === first &&
        known.fresh === fresh &&
        known.readers === read
          ? known
          : ({ kind: "message", key: message.message_id, message, day, first, fresh, readers: read } as const);
      kept.set(row.key, row);
      rows.push(row);
      previous = message;
      previousDay = today;
    }
    tell(null);
    streams.forEach((stream) => {
      rows.push({ kind: "stream", key: stream.message_id, stream, first: previous?.sender_id !== stream.sender_id });
    });
    pending.forEach((each, index) => {
      const first = index === 0 && (streams.length > 0 || previous?.sender_id !== me);
      rows.push({ kind: "pending", key: each.client_message_id, pending: each, first });
    });
    this.#before = kept;
    return rows;
  }
}
