import type { Connection, ConnectionState } from "./connection.js";
import { AtriumError, isPassing } from "./errors.js";
import type { Fallback } from "./fallback.js";
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
  #online: string[] = [];
  #messages: ChatMessage[] = [];
  #most: number;
  #hasOlder = false;
  #typing = new Set<string>();
  #reads: Record<string, number> = {};
  #read = 0;
  #typed = 0;
  #outbox: Outbox;
  #streams = new Streams();
  #sequence = new Sequence<ChatMessage>((message) => this.#append(message, this.#replaying));
  #replaying = false;
  #joining: object | undefined;
  #gap: ReturnType<typeof setTimeout> | undefined;
  #listeners = new Set<MessageListener>();
  /** Not in what a page loads first. */
  #fallback: Promise<Fallback> | undefined;
  #pollInterval: number | undefined;
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
      on("message_edited", (message) => this.#replace(message.seq, () => message)),
      on("message_deleted", ({ seq, deleted_at }) =>
        this.#replace(seq, (message) => ({ ...message, content: "", metadata: { deleted_at } })),
      ),
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
    this.#pollInterval = options.pollInterval;
    if (options.fallback !== false) {
      this.#stops.push(connection.allowFallback());
      this.#http().catch(() => {}); // while there is a network to load it from
    }
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
      client_message_id: newId(),
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
    const now = Date.now();
    if (this.#status !== "joined" || (isTyping ? now - this.#typed < TYPING_MS : !this.#typed)) return;
    this.#typed = isTyping ? now : 0;
    this.connection.tell("typing", { ...this.#here, is_typing: isTyping });
  }

  /** This user has read all up to `seq`. May be called at every scroll. */
  async read(seq = this.#sequence.last ?? 0): Promise<void> {
    if (seq <= this.#read || this.#status === "failed") return;
    const before = this.#read;
    this.#read = seq;
    try {
      if (this.#status === "fallback") await (await this.#http()).read(seq);
      else await this.connection.call("read", { ...this.#here, seq });
    } catch {
      if (this.#read === seq) this.#read = before; // the next call says it
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
    const first = this.#messages[0]?.seq;
    if (!this.#hasOlder || first === undefined) return false;
    const page = await (await this.#http()).before(first, limit);
    if (this.#messages[0]?.seq === first) {
      this.#messages = [...page.messages, ...this.#messages];
      this.#most += page.messages.length;
      this.#hasOlder = page.has_more;
      this.changed();
    }
    return this.#hasOlder;
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
    this.#stopPolling();
    this.#joining = undefined;
    if (this.connection.state === "connected") this.connection.call("leave", this.#here).catch(() => {});
  }

  protected override build(): SessionSnapshot {
    return {
      status: this.#status,
      error: this.#error,
      session: this.#session,
      participants: this.#session?.participants ?? [],
      online: this.#online,
      messages: this.#messages.slice(),
      hasOlder: this.#hasOlder,
      pending: this.#outbox.pending,
      streams: this.#streams.list(),
      typing: [...this.#typing],
      reads: this.#reads,
      lastSeq: this.#sequence.last ?? 0,
    };
  }

  // -- the connection -----------------------------------------------------------------------------------------------

  #follow = (state: ConnectionState): void => {
    if (state === "connected") {
      this.#stopPolling();
      if (this.connection.recovered && this.#status === "joined") this.#resume();
      else void this.#join();
      return;
    }
    this.#outbox.pause();
    this.#typing.clear();
    this.#typed = 0;
    if (this.#joining) this.#status = "joining"; // not all that was missed is here
    this.#joining = undefined;
    if (state === "fallback") {
      this.#status = state;
      this.#resume();
      void this.#startPolling();
    } else if (state === "failed" && !isPassing(this.connection.error)) {
      this.#status = "failed";
      this.#error = this.connection.error;
    }
    this.changed();
  };

  #resume(): void {
    this.#outbox.userId = this.connection.userId;
    this.#outbox.start();
  }

  async #join(overlap = OVERLAP): Promise<void> {
    const joining = {};
    this.#joining = joining;
    if (this.#status !== "joined") this.#status = "joining";
    if (overlap) this.#streams.clear(); // they are told anew, or have ended
    this.changed();
    try {
      await this.#catchUp(joining, overlap);
    } catch (error) {
      if (this.#joining === joining) this.#refused(error as AtriumError);
    }
  }

  /** All that was said since; with those `overlap` messages before, which may have changed. */
  async #catchUp(joining: object, overlap: number): Promise<void> {
    const { last } = this.#sequence;
    let after = last === undefined ? undefined : Math.max(0, last - overlap);
    for (;;) {
      const page = await this.connection.call("join", {
        ...this.#here,
        ...(after !== undefined && { after_seq: after }),
      });
      if (this.#joining !== joining) return;
      const { messages } = page;
      const newest = messages.at(-1)?.seq;
      this.#session = page.session;
      this.#online = page.online;
      this.#status = "joined";
      this.#error = undefined;
      if (after === undefined) this.#begin(messages, page.has_more);
      else for (const message of messages) this.#take(message, true);
      this.changed();
      if (after === undefined || !page.has_more || newest === undefined) break;
      if (page.last_seq - newest > this.#most) {
        this.#sequence = new Sequence((message) => this.#append(message, this.#replaying));
        this.#messages = [];
        after = undefined; // away for so long that only the newest count
      } else {
        after = newest;
      }
    }
    this.#joining = undefined;
    this.#resume();
    this.#mindGap();
    this.changed();
  }

  #refused(error: AtriumError): void {
    this.#joining = undefined;
    if (isPassing(error)) {
      if (this.connection.state !== "connected") return; // it comes back
      clearTimeout(this.#gap);
      this.#gap = setTimeout(() => void this.#join(), error.retryAfter ?? RETRY_MS);
      return;
    }
    this.#status = "failed";
    this.#error = error;
    this.changed();
  }

  async #deliver(message: PendingMessage): Promise<Sent> {
    if (this.#status === "fallback") return (await this.#http()).send(message, !this.#session);
    const { client_message_id, content, metadata, file_id } = message;
    const said = { ...this.#here, client_message_id };
    return file_id
      ? this.connection.call("file", { ...said, file_id, message: content })
      : this.connection.call("message", { ...said, content, ...(metadata && { metadata }) });
  }

  #http(): Promise<Fallback> {
    this.#fallback ??= import("./fallback.js").then(
      ({ Fallback }) => new Fallback(this.connection, this.sessionId, this.#pollInterval),
      () => {
        this.#fallback = undefined;
        throw new AtriumError("UNREACHABLE");
      },
    );
    return this.#fallback;
  }

  async #startPolling(): Promise<void> {
    try {
      const fallback = await this.#http();
      if (this.#status !== "fallback") return;
      fallback.start(
        () => this.#sequence.last,
        (page) => this.#poll(page),
      );
    } catch {
      this.#gap = setTimeout(() => void this.#startPolling(), RETRY_MS);
    }
  }

  #stopPolling(): void {
    clearTimeout(this.#gap);
    this.#gap = undefined;
    this.#fallback?.then((fallback) => fallback.stop()).catch(() => {});
  }

  #poll({ messages, session }: { messages: ChatMessage[]; session?: SessionInfo | undefined }): void {
    if (session) this.#session = session;
    if (this.#sequence.last === undefined) this.#begin(messages, (messages[0]?.seq ?? 1) > 1);
    else for (const message of messages) this.#take(message);
    this.changed();
  }

  // -- messages -----------------------------------------------------------------------------------------------------

  #begin(messages: ChatMessage[], hasOlder: boolean): void {
    for (const message of messages) this.#append(message, true);
    this.#hasOlder = hasOlder;
    this.#sequence.begin(messages.at(-1)?.seq ?? 0);
  }

  #take(message: ChatMessage, replayed = false): void {
    this.#streams.drop(message.message_id);
    if (message.seq <= (this.#sequence.last ?? 0)) {
      this.#replace(message.seq, () => message);
      return;
    }
    this.#replaying = replayed;
    this.#sequence.take(message);
    this.#replaying = false;
    if (!replayed) this.#mindGap();
  }

  #append(message: ChatMessage, replayed: boolean): void {
    this.#messages.push(message);
    if (this.#messages.length > this.#most) {
      this.#messages.splice(0, Math.ceil(this.#most / 10)); // seldom
      this.#hasOlder = true;
    }
    if (message.sender_id === this.connection.userId) this.#outbox.see(message.content);
    this.#typing.delete(message.sender_id);
    tell(this.#listeners, message, replayed);
  }

  #replace(seq: number, change: (message: ChatMessage) => ChatMessage): void {
    const index = seq - (this.#messages[0]?.seq ?? 0);
    const message = this.#messages[index];
    if (message) this.#messages[index] = change(message);
  }

  /** What is missing is asked for, if it does not come by itself. There are messages up to `known`. */
  #mindGap(known = 0): void {
    const missing = this.#sequence.held.size || known > (this.#sequence.last ?? 0);
    if (!missing || this.#gap !== undefined || this.#status !== "joined") return;
    const from = this.#sequence.last;
    this.#gap = setTimeout(() => {
      this.#gap = undefined;
      if (this.#joining || this.connection.state !== "connected" || this.#status !== "joined") return;
      if (this.#sequence.last === from) void this.#join(0);
      else this.#mindGap(known);
    }, GAP_MS);
  }

  #happened({ event, user_id }: Hears["system"]): void {
    const others = this.#online.filter((each) => each !== user_id);
    if (event === "user_joined") this.#online = [...others, user_id];
    if (event === "user_left") {
      this.#online = others;
      this.#typing.delete(user_id);
    }
    const session = this.#session;
    if (!session) return;
    const people = session.participants.filter((each) => each !== user_id);
    const changes: Partial<Record<Hears["system"]["event"], Partial<SessionInfo>>> = {
      session_archived: { status: "archived" },
      operator_joined: { operator_id: user_id },
      agent_joined: { operator_id: null },
      participant_added: { participants: [...people, user_id] },
      participant_removed: { participants: people },
    };
    this.#session = { ...session, ...changes[event] };
  }
}

/** `randomUUID` is not there on pages without TLS, such as those on a factory's network. */
function newId(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
