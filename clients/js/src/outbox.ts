import { AtriumError, isPassing } from "./errors.js";
import type { ChatMessage, Sent } from "./types.js";

/** What was said and is not acked: it is sent until it is, with the same `client_message_id`. */
export interface PendingMessage {
  client_message_id: string;
  content: string;
  metadata?: Record<string, unknown>;
  /** Of a file that was uploaded before. */
  file_id?: string;
  created_at: string;
  /** Unknown only until there is a token, or a connection. */
  user_id?: string | undefined;
  /** It was refused for good; `retry` or `discard` it. */
  error?: AtriumError | undefined;
}

/** `localStorage` is one. Each message has an item of its own, so that tabs do not overwrite each other's. */
export type MessageStorage = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

interface Entry {
  message: PendingMessage;
  settle?: { resolve: (sent: Sent) => void; reject: (error: AtriumError) => void };
  /** It is stored: its `message` came before its ack. */
  seen?: boolean;
}

const MOST = 200;
const LONGEST_WAIT_MS = 30_000;
const MOST_FAULTS = 5; // of the server, until it is taken for the message's

/** Sends one after the other, in order. Whoever has it says when it can, and how. */
export class Outbox {
  #prefix: string;
  #storage: MessageStorage | undefined;
  #deliver: (message: PendingMessage) => Promise<Sent>;
  #changed: (sent?: Sent) => void;
  #entries: Entry[] = [];
  #sending: Entry | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #tries = 0;
  #open = false;
  #userId: string | undefined;

  constructor(
    prefix: string,
    storage: MessageStorage | undefined,
    deliver: (message: PendingMessage) => Promise<Sent>,
    changed: (sent?: Sent) => void,
  ) {
    this.#prefix = prefix;
    this.#storage = storage;
    this.#deliver = deliver;
    this.#changed = changed;
    if (storage) this.#entries = this.#stored(storage).map((message) => ({ message }));
  }

  /** In the order of sending, but for those that are seen as messages already. */
  get pending(): PendingMessage[] {
    return this.#mine().flatMap((entry) => (entry.seen ? [] : entry.message));
  }

  /** Resolves when it is stored. Rejects when it is refused for good, or there are too many. */
  add(message: PendingMessage): Promise<Sent> {
    if (this.#entries.length >= MOST) {
      return Promise.reject(new AtriumError("LIMIT_EXCEEDED"));
    }
    const entry: Entry = { message: { ...message, user_id: this.#userId } };
    const sent = new Promise<Sent>((resolve, reject) => {
      entry.settle = { resolve, reject };
    });
    sent.catch(() => {}); // `pending` tells it too
    this.#entries.push(entry);
    this.#store(entry.message);
    this.#changed();
    void this.#next();
    return sent;
  }

  retry(id: string): void {
    const entry = this.#find(id);
    if (entry) this.#mark(entry, { error: undefined });
    void this.#next();
  }

  discard(id: string): void {
    const entry = this.#find(id);
    if (!entry || entry === this.#sending) return;
    entry.settle?.reject(new AtriumError("CLOSED"));
    this.#remove(entry);
  }

  /** This user's from now on, with what was written since the page was loaded, before anybody knew by whom. */
  know(userId: string | undefined): void {
    this.#userId = userId;
    for (const entry of this.#entries) if (!entry.message.user_id) this.#mark(entry, { user_id: userId });
    this.#changed();
  }

  /** From now on, until `pause`, in this user's name. */
  start(userId: string | undefined): void {
    this.know(userId);
    this.#open = true;
    this.#tries = 0;
    void this.#next();
  }

  pause(): void {
    this.#open = false;
    clearTimeout(this.#timer);
  }

  /** If a message that was told is the one being sent, its ack is still to come. */
  see({ sender_id, content }: ChatMessage): void {
    const entry = this.#sending;
    if (entry?.message.content === content && sender_id === this.#userId) entry.seen = true;
  }

  #find(id: string): Entry | undefined {
    return this.#entries.find(({ message }) => message.client_message_id === id);
  }

  #mine(): Entry[] {
    return this.#entries.filter(({ message }) => message.user_id === this.#userId);
  }

  async #next(): Promise<void> {
    clearTimeout(this.#timer);
    if (!this.#open || this.#sending) return;
    const entry = this.#mine().find(({ message }) => !message.error);
    if (!entry) return;
    this.#sending = entry;
    let wait = 0;
    try {
      const sent = await this.#deliver(entry.message);
      this.#tries = 0;
      entry.settle?.resolve(sent);
      this.#remove(entry, sent);
    } catch (cause) {
      const error = cause as AtriumError;
      entry.seen = false;
      if (isPassing(error) && !(error.code === "INTERNAL" && this.#tries >= MOST_FAULTS)) {
        wait = Math.max(error.retryAfter ?? 0, Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.#tries++));
      } else {
        this.#tries = 0;
        this.#mark(entry, { error });
        entry.settle?.reject(error);
      }
    }
    this.#sending = undefined;
    if (wait) this.#timer = setTimeout(() => void this.#next(), wait);
    else void this.#next();
  }

  /** Of what was refused that is kept too: a reload does not say it again. */
  #mark(entry: Entry, change: Partial<PendingMessage>): void {
    entry.message = { ...entry.message, ...change };
    this.#store(entry.message);
    this.#changed();
  }

  #remove(entry: Entry, sent?: Sent): void {
    this.#entries = this.#entries.filter((each) => each !== entry);
    this.#store(entry.message, true);
    this.#changed(sent);
  }

  /** A full or forbidden storage costs only its surviving a reload. */
  #store(message: PendingMessage, isOver = false): void {
    const key = this.#prefix + message.client_message_id;
    try {
      if (isOver) this.#storage?.removeItem(key);
      else this.#storage?.setItem(key, JSON.stringify(message));
    } catch {}
  }

  #stored(storage: MessageStorage): PendingMessage[] {
    const found: PendingMessage[] = [];
    for (let index = 0; index < storage.length; index++) {
      try {
        const key = storage.key(index) ?? "";
        if (!key.startsWith(this.#prefix)) continue;
        const message = JSON.parse(storage.getItem(key) ?? "");
        message.error &&= AtriumError.from(message.error);
        const isKnown = message.content && message.user_id; // else it is not known who wrote it
        if (isKnown && key === this.#prefix + message.client_message_id) found.push(message);
      } catch {
        // Somebody else wrote that
      }
    }
    return found.sort((one, other) => (one.created_at < other.created_at ? -1 : 1)).slice(0, MOST);
  }
}
