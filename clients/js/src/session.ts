import type { Connection, ConnectionState } from "./connection.js";
import { type AtriumError, isPassing } from "./errors.js";
import type { Fallback } from "./fallback.js";
import { lazy } from "./lazy.js";
import { Outbox, type PendingMessage } from "./outbox.js";
import type { Events } from "./protocol.js";
import { Sequence } from "./sequence.js";
import type { MessageListener, SessionOptions, SessionSnapshot } from "./session-snapshot.js";
import { Store, tell } from "./store.js";
import { Streams } from "./streams.js";
import type { ChatMessage, Sent, SessionInfo } from "./types.js";

type Hears = Events["/chat"]["hears"];
type SessionEvent = { [E in keyof Hears]: Hears[E] extends { session_id: string } ? E : never }[keyof Hears];

const OVERLAP = 50; // messages asked for again after a drop, for what was edited meanwhile
const PAGE = 200;
const HISTORY = 2000;
const GAP_MS = 300; // from another node a message may come a little late
const RETRY_MS = 1000;
const TYPING_MS = 3000; // the server takes 5 s of silence for its end

/**
 * Joins a session of `/chat`, and again after every drop that was not recovered from. One at a time for each session and
 * connection.
 */
export function openSession(
  connection: Connection<"/chat">,
  sessionId: string,
  options: SessionOptions = {},
): ChatSession {
  return new ChatSession(connection, sessionId, options);
}

export class ChatSession extends Store<SessionSnapshot> {
  #status: SessionSnapshot["status"] = "joining";
  #error: AtriumError | undefined;
  #session: SessionInfo | undefined;
  #online = new Set<string>();
  #messages: ChatMessage[] = [];
  #most: number;
  #typing = new Set<string>();
  #reads: Record<string, number> = {};
  #read = 0;
  #typed = 0;
  #outbox: Outbox;
  #streams = new Streams();
  #joining: object | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #listeners = new Set<MessageListener>();
  #replaying = false;
  #sequence = new Sequence<ChatMessage>((message) => this.#append(message));
  #http: () => Promise<Fallback>;
  #here: { session_id: string };
  #stops: (() => void)[];

  constructor(
    readonly connection: Connection<"/chat">,
    readonly sessionId: string,
    options: SessionOptions,
  ) {
    super();
    this.#here = { session_id: sessionId };
    this.#most = options.history ?? HISTORY;
    this.#outbox = new Outbox(
      `atrium:${connection.url}:${sessionId}:`,
      options.storage,
      (message) => this.#deliver(message),
      (sent) => {
        if (sent) this.#mindGap(sent.seq);
        this.changed();
      },
    );
    const on = <E extends SessionEvent>(event: E, handler: (payload: Hears[E]) => void) =>
      connection.on(event, (payload: Hears[E]) => {
        if (payload?.session_id !== sessionId) return;
        handler(payload);
        this.changed();
      });
    this.#stops = [
      connection.onState(this.#follow),
      on("message", (message) => this.#take(message)),
      on("message_edited", (message) => this.#take(message)),
      on("message_deleted", ({ seq, deleted_at }) => {
        const message = this.#messages[seq - this.#first];
        if (message) this.#take({ ...message, content: "", metadata: { deleted_at } });
      }),
      on("stream_start", (event) => this.#streams.start(event)),
      on("stream_chunk", (event) => this.#streams.chunk(event)),
      on("stream_end", (event) => {
        const message = this.#streams.end(event, String(this.#session?.agent_id ?? ""));
        if (message) this.#take(message);
      }),
      on("typing", ({ user_id, is_typing }) => this.#typing[is_typing ? "add" : "delete"](user_id)),
      on("read", ({ user_id, seq }) => {
        this.#reads = { ...this.#reads, [user_id]: Math.max(seq, this.#reads[user_id] ?? 0) };
      }),
      on("system", (event) => this.#happened(event)),
    ];
    this.#http = lazy(async () => {
      const { Fallback } = await import("./fallback.js");
      return new Fallback(connection, sessionId, options.pollInterval, {
        last: () => this.#sequence.last,
        start: (userId) => this.#outbox.start(userId),
        told: ({ messages, session = this.#session }) => {
          this.#session = session;
          this.#hear(messages);
        },
      });
    });
    if (options.fallback !== false) this.#stops.push(connection.allowFallback());
    // At once: while there is a network to load it from. Where it is in vain the server will say.
    this.#tryHttp(async (fallback) => this.#outbox.know(await fallback.user()));
    this.#follow(connection.state);
  }

  // -- what a user does ---------------------------------------------------------------------------------------------

  /**
   * Says it, now or when it can be. Resolves when it is stored; rejects when it was refused for good, and `pending`
   * keeps it then.
   */
  send(content: string, more: { metadata?: Record<string, unknown>; file_id?: string } = {}): Promise<Sent> {
    return this.#outbox.add({
      ...more,
      // `randomUUID` is not there on pages without TLS, such as those on a factory's network
      client_message_id: crypto.getRandomValues(new Uint32Array(4)).join("-"),
      content,
      created_at: new Date().toISOString(),
    });
  }

  /** Once more, what was refused. */
  retry(clientMessageId: string): void {
    this.#outbox.retry(clientMessageId);
  }

  discard(clientMessageId: string): void {
    this.#outbox.discard(clientMessageId);
  }

  /** May be called at every key. */
  typing(isTyping: boolean): void {
    const now = isTyping ? Date.now() : 0;
    if (this.#status !== "joined" || (isTyping ? now - this.#typed < TYPING_MS : !this.#typed)) return;
    this.#typed = now;
    this.connection.tell("typing", { ...this.#here, is_typing: isTyping });
  }

  /** This user has read all up to `seq`. May be called at every scroll. */
  async read(seq = this.#last): Promise<void> {
    if (seq <= this.#read || this.#status === "failed") return;
    this.#read = seq;
    try {
      if (this.#status === "fallback") await (await this.#http()).read(seq);
      else await this.connection.call("read", { ...this.#here, seq });
    } catch {
      this.#read = 0; // the next call says it
    }
  }

  edit(messageId: string, content: string): Promise<unknown> {
    return this.connection.call("edit", { ...this.#here, message_id: messageId, content });
  }

  delete(messageId: string): Promise<unknown> {
    return this.connection.call("delete", { ...this.#here, message_id: messageId });
  }

  /** Stops an answer that is being given. */
  cancel(messageId: string): Promise<unknown> {
    return this.connection.call("stream_cancel", { ...this.#here, message_id: messageId });
  }

  /** Resolves to whether there are more still. They stay in memory. */
  async loadOlder(limit = PAGE): Promise<boolean> {
    const first = this.#first;
    if (first > 1) {
      const { messages } = await (await this.#http()).before(first, limit);
      if (this.#first === first) {
        this.#messages = messages.concat(this.#messages);
        this.#most += messages.length;
        this.changed();
      }
    }
    return this.#first > 1;
  }

  /** Every message once, in order. The result stops it. */
  onMessage(listener: MessageListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Leaves it. What is not sent yet stays in the storage. */
  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.#outbox.pause();
    this.#stop();
    this.#joining = undefined;
    if (this.connection.state === "connected") this.connection.call("leave", this.#here).catch(() => {});
  }

  protected override build(): SessionSnapshot {
    return {
      status: this.#status,
      error: this.#error,
      session: this.#session,
      participants: this.#session?.participants ?? [],
      online: [...this.#online],
      messages: this.#messages.slice(),
      hasOlder: this.#first > 1,
      pending: this.#outbox.pending,
      streams: [...this.#streams.values()],
      typing: [...this.#typing],
      reads: this.#reads,
      lastSeq: this.#last,
    };
  }

  // -- the connection -----------------------------------------------------------------------------------------------

  #follow = (state: ConnectionState): void => {
    this.#stop();
    if (state === "connected") {
      if (this.connection.recovered && this.#status === "joined") this.#goOn();
      else this.#join();
      return;
    }
    this.#outbox.pause();
    this.#typing.clear();
    if (this.#joining) this.#status = "joining"; // not all that was missed is here
    this.#joining = undefined;
    if (state === "fallback") {
      this.#status = state;
      this.#startPolling();
    } else if (state === "failed" && !isPassing(this.connection.error)) {
      this.#fail(this.connection.error);
    }
    this.changed();
  };

  #goOn(): void {
    this.#outbox.start(this.connection.userId);
    this.#mindGap();
  }

  #join(overlap = OVERLAP): void {
    const joining = {};
    this.#joining = joining;
    if (this.#status !== "joined") this.#status = "joining";
    if (overlap) this.#streams.clear(); // they are told anew, or have ended
    this.changed();
    this.#catchUp(joining, overlap).catch((error: AtriumError) => {
      if (this.#joining !== joining) return;
      this.#joining = undefined;
      if (!isPassing(error)) this.#fail(error);
      else this.#later(error.retryAfter ?? RETRY_MS, () => this.#join());
    });
  }

  /** All that was said since; with those `overlap` messages before, which may have changed. */
  async #catchUp(joining: object, overlap: number): Promise<void> {
    for (let back = overlap; ; back = 0) {
      const { last, held } = this.#sequence;
      const early = [...held.keys()];
      const page = await this.connection.call("join", {
        ...this.#here,
        ...(last !== undefined && { after_seq: Math.max(0, last - back) }),
      });
      if (this.#joining !== joining) return;
      this.#session = page.session;
      this.#online = new Set(page.online);
      this.#status = "joined";
      this.#error = undefined;
      this.#hear(page.messages, true);
      for (const seq of early) if (!(seq <= page.last_seq)) held.delete(seq); // nobody said that
      const now = this.#last;
      if (last === undefined || !page.has_more || now === last) break;
      if (page.last_seq - now > this.#most) {
        this.#sequence.last = undefined; // away for so long that only the newest count
        this.#messages = [];
      }
    }
    this.#joining = undefined;
    this.#goOn();
    this.changed();
  }

  #fail(error: AtriumError | undefined): void {
    this.#status = "failed";
    this.#error = error;
    this.changed();
  }

  #later(ms: number, run: () => unknown): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      run();
    }, ms);
  }

  async #deliver(message: PendingMessage): Promise<Sent> {
    if (this.#status === "fallback") return (await this.#http()).send(message, !this.#session);
    const { client_message_id, content, metadata, file_id } = message;
    const said = { ...this.#here, client_message_id };
    return file_id
      ? this.connection.call("file", { ...said, file_id, message: content })
      : this.connection.call("message", { ...said, content, ...(metadata && { metadata }) });
  }

  #tryHttp(use: (fallback: Fallback) => unknown): void {
    this.#http()
      .then(use)
      .catch(() => {});
  }

  #startPolling(): void {
    this.#http().then(
      (fallback) => fallback.start(),
      () => this.#status === "fallback" && this.#later(RETRY_MS, () => this.#startPolling()),
    );
  }

  /** What is to be done later, and polling. */
  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#tryHttp((fallback) => fallback.stop());
  }

  // -- messages -----------------------------------------------------------------------------------------------------

  /** The first that are heard are what there is: the newest. */
  #hear(messages: ChatMessage[], replayed = false): void {
    const isFirst = this.#sequence.last === undefined;
    this.#replaying = replayed || isFirst;
    for (const message of messages) {
      if (isFirst) this.#append(message);
      else this.#take(message);
    }
    this.#replaying = false;
    if (isFirst) this.#sequence.begin(messages.at(-1)?.seq ?? 0);
    this.changed();
  }

  get #last(): number {
    return this.#sequence.last ?? 0;
  }

  get #first(): number {
    return this.#messages[0]?.seq ?? 1;
  }

  /** A new one, or as one that is known is now. */
  #take(message: ChatMessage): void {
    const index = message.seq - this.#first;
    if (index in this.#messages) this.#messages[index] = message;
    this.#sequence.take(message);
    this.#mindGap();
  }

  #append(message: ChatMessage): void {
    this.#messages.push(message);
    if (this.#messages.length > this.#most) {
      this.#messages.splice(0, Math.ceil(this.#most / 10)); // seldom
    }
    this.#outbox.see(message);
    this.#typing.delete(message.sender_id);
    this.#streams.drop(message.message_id);
    tell(this.#listeners, message, this.#replaying);
  }

  /** What is missing is asked for, if it does not come by itself. There are messages up to `known`. */
  #mindGap(known = 0): void {
    const from = this.#last;
    if (this.#timer || this.#status !== "joined" || (!this.#sequence.held.size && known <= from)) return;
    this.#later(GAP_MS, () => {
      if (this.#joining) return;
      if (this.#last === from) this.#join(0);
      else this.#mindGap(known);
    });
  }

  #happened(told: Hears["system"]): void {
    const { event, user_id } = told;
    if (event === "user_joined") {
      this.#online.add(user_id);
    } else if (event === "user_left") {
      this.#online.delete(user_id);
      this.#typing.delete(user_id);
    } else {
      const update = (change: (session: SessionInfo) => SessionInfo) => {
        if (this.#session) this.#session = change(this.#session);
        this.changed();
      };
      this.#tryHttp((fallback) => fallback.happened(told, update));
    }
  }
}
