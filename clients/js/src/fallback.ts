import type { Connection } from "./connection.js";
import { AtriumError } from "./errors.js";
import { http } from "./http.js";
import type { PendingMessage } from "./outbox.js";
import type { Events } from "./protocol.js";
import type { ChatMessage, Sent, SessionInfo } from "./types.js";

type Happened = Events["/chat"]["hears"]["system"];
type Update = (change: (session: SessionInfo) => SessionInfo) => void;

export interface Page {
  messages: ChatMessage[];
  session?: SessionInfo | undefined;
}

const POLL_MS = 3000;
const PAGE = 200;
const AGAIN = 5; // of so many polls one asks for what may have changed, too
const OVERLAP = 50; // messages that may have
const NOT_STORED = new Set<string | undefined>(["FORBIDDEN", "RATE_LIMITED"]); // of all else it may be

/** Who it is for. */
interface Owner {
  /** The newest message that it knows; undefined where none is. */
  last(): number | undefined;
  /** In whose name it may send from now on. */
  start(userId: string | undefined): void;
  /** What is new; now and then the session, and the newest messages again: they may have changed. */
  told(page: Page): void;
}

/** A session over HTTP: while there is no socket, and for its past. */
export class Fallback {
  #connection: Connection<"/chat">;
  #sessionId: string;
  #pollMs: number;
  #path: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: object | undefined;
  #owner: Owner;
  /** What was said the bank's way, and the newest message before it: that way knows no such ids. */
  #banked: { id: string; after: number } | undefined;
  #polls = 0;

  constructor(connection: Connection<"/chat">, sessionId: string, pollMs = POLL_MS, owner: Owner) {
    this.#connection = connection;
    this.#sessionId = sessionId;
    this.#pollMs = pollMs;
    this.#owner = owner;
    this.#path = `/api/chat/sessions/${encodeURIComponent(sessionId)}`;
  }

  /** Tells who the user is, and what is new, beginning with the newest messages there are, until `stop`. */
  start(): void {
    this.#polls = 0;
    void this.#poll({});
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#running = undefined;
  }

  /** `isNew`: perhaps nobody has joined the session yet, and only the bank's way makes one by its id. */
  async send({ client_message_id, content, metadata, file_id }: PendingMessage, isNew: boolean): Promise<Sent> {
    if (file_id) throw new AtriumError("NOT_CONNECTED");
    const body = { client_message_id, content, ...(metadata && { metadata }) };
    const say = () => http(this.#connection, "POST", `${this.#path}/messages`, body);
    const banked = this.#banked?.id === client_message_id ? this.#banked : undefined;
    try {
      return (banked && (await this.#find(content, banked.after))) ?? (await say());
    } catch (error) {
      if (!isNew || codeOf(error) !== "FORBIDDEN") throw error;
    }
    const after = banked?.after ?? (await this.#messages("limit=1")).at(-1)?.seq ?? 0;
    this.#banked = { id: client_message_id, after };
    let refusal: unknown;
    try {
      const asked = { session_id: this.#sessionId, user_message: content };
      await http(this.#connection, "POST", "/api/v1/chat/message", asked);
    } catch (error) {
      if (NOT_STORED.has(codeOf(error))) throw error;
      refusal = error; // of its answer, perhaps
    }
    const sent = await this.#find(content, after);
    if (sent) return sent;
    if (refusal && codeOf(refusal) !== "CONFLICT") throw refusal;
    return say(); // the session is there, and nobody answers in it
  }

  /** Who says what is said: as the token has it, which nobody verified. Rejects where there is no token to be had. */
  async user(): Promise<string | undefined> {
    return subjectOf(await this.#connection.token()) ?? this.#connection.userId;
  }

  read(seq: number): Promise<unknown> {
    return http(this.#connection, "POST", `${this.#path}/read`, { seq });
  }

  before(seq: number, limit: number): Promise<{ messages: ChatMessage[]; has_more: boolean }> {
    return http(this.#connection, "GET", `${this.#path}/messages?limit=${limit}&before=${seq}`);
  }

  /** What became of it. In order, but for what must be asked for. */
  async happened({ event, user_id, timestamp }: Happened, update: Update): Promise<void> {
    if (event === "handover_requested") {
      const known = { summary: "", reason: "", requested_by: user_id, requested_at: timestamp };
      const unknown = { intent: "", urgency: "", keywords: [], suggested_action: "" };
      const { handover } = await this.#session().catch(() => ({ handover: { ...known, ...unknown } }));
      update((session) => (session.operator_id === null ? { ...session, handover } : session)); // nobody took it yet
      return;
    }
    update((session) => {
      const others = session.participants.filter((each) => each !== user_id);
      const changes: Partial<Record<typeof event, Partial<SessionInfo>>> = {
        session_archived: { status: "archived", handover: null },
        operator_joined: { operator_id: user_id, handover: null },
        agent_joined: { operator_id: null },
        participant_added: { participants: [...others, user_id] },
        participant_removed: { participants: others },
      };
      return { ...session, ...changes[event] };
    });
  }

  #session(): Promise<SessionInfo> {
    return http(this.#connection, "GET", this.#path);
  }

  /** None where the session is not there yet. */
  async #messages(query: string): Promise<ChatMessage[]> {
    try {
      return (await http(this.#connection, "GET", `${this.#path}/messages?${query}`)).messages;
    } catch (error) {
      if (codeOf(error) === "FORBIDDEN") return [];
      throw error;
    }
  }

  /** This user's first that says so, behind number `after`. */
  async #find(content: string, after: number): Promise<Sent | undefined> {
    const userId = await this.user();
    const message = (await this.#messages(`limit=${PAGE}&after=${after}`)).find(
      (each) => each.sender_type === "user" && each.sender_id === userId && each.content === content,
    );
    return (
      message && { message_id: message.message_id, seq: message.seq, created_at: message.created_at, status: "sent" }
    );
  }

  async #poll(running: object): Promise<void> {
    this.stop();
    this.#running = running;
    let more = false;
    try {
      if (!this.#polls) {
        const userId = await this.user();
        if (this.#running !== running) return;
        this.#owner.start(userId);
      }
      const last = this.#owner.last();
      const isAgain = this.#polls++ % AGAIN === 0;
      const after = last === undefined ? "" : `&after=${isAgain ? Math.max(0, last - OVERLAP) : last}`;
      const page = await http(this.#connection, "GET", `${this.#path}/messages?limit=${PAGE}${after}`);
      const session = isAgain || last === undefined ? await this.#session() : undefined;
      if (this.#running !== running) return;
      this.#owner.told({ messages: page.messages, session });
      more = after !== "" && page.has_more;
    } catch {
      // It is away, or not made yet: the next poll will tell
    }
    if (this.#running === running) this.#timer = setTimeout(() => void this.#poll(running), more ? 0 : this.#pollMs);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof AtriumError ? error.code : undefined;
}

function subjectOf(token: string | null): string | undefined {
  try {
    const claims = atob(token?.split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/") ?? "");
    const { sub } = JSON.parse(new TextDecoder().decode(Uint8Array.from(claims, (each) => each.charCodeAt(0))));
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}
