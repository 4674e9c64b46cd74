/** The list of conversations: paged from the server, kept fresh by what is heard. It draws nothing. */
import { request } from "../shell/http";

export interface Handover {
  readonly urgency: string;
  readonly summary: string;
  readonly keywords: readonly string[];
  readonly intent: string;
  readonly suggested_action: string;
  readonly reason: string;
  readonly requested_by: string | null;
  readonly requested_at: string;
}

export interface Listed {
  readonly session_id: string;
  readonly title: string | null;
  readonly user_id: string;
  readonly agent_id: number | null;
  readonly agent_name: string | null;
  readonly operator_id: string | null;
  readonly handover: Handover | null;
  readonly last_message: string | null;
  readonly last_message_at: string | null;
  readonly unread_count: number;
  readonly status: string;
  readonly created_at: string;
}

interface Page {
  readonly sessions: readonly Listed[];
  readonly total: number;
  readonly has_more: boolean;
  readonly next_cursor: string | null;
}

export type View = "mine" | "archived" | "requests" | "everyone";

export interface SessionsSnapshot {
  readonly sessions: readonly Listed[];
  readonly total: number;
  readonly hasMore: boolean;
  readonly loading: boolean;
  readonly error: unknown;
}

/** A message somewhere, as `notification` or as the open conversation tells it. */
export interface Heard {
  readonly session_id: string;
  readonly content?: string;
  readonly created_at?: string;
}

const PAGE = 100;
const FIRST = 50;
const MOST = 10_000;
const TELL_MS = 16; // not a frame: a hidden page has none, and its title counts what is unread
const REFRESH_MS = 400; // what comes together is asked for once

const QUERIES: Record<View, string> = {
  mine: "status=active",
  archived: "status=archived",
  requests: "status=active&everyone=true&handover=true",
  everyone: "everyone=true",
};

const usedAt = ({ last_message_at, created_at }: Listed): number => Date.parse(last_message_at ?? created_at) || 0;

export class Sessions {
  #listed = new Map<string, Listed>(); // in the order of the list
  #kept = new Set<string>();
  #cursor: string | null = null;
  #hasMore = true;
  #loading = false;
  #error: unknown = null;
  #total = 0;
  #snapshot: SessionsSnapshot | null = null;
  #listeners = new Set<() => void>();
  #telling: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = new AbortController();

  constructor(readonly view: View) {}

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): SessionsSnapshot => {
    this.#snapshot ??= {
      sessions: [...this.#listed.values()],
      total: Math.max(this.#total, this.#listed.size),
      hasMore: this.#hasMore,
      loading: this.#loading,
      error: this.#error,
    };
    return this.#snapshot;
  };

  close(): void {
    this.#ended.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#telling);
  }

  get(sessionId: string): Listed | undefined {
    return this.#listed.get(sessionId);
  }

  /** The next page. */
  async more(): Promise<void> {
    if (this.#loading || !this.#hasMore || this.#listed.size >= MOST) return;
    this.#loading = true;
    this.#error = null;
    this.#changed();
    try {
      const page = await this.#ask(PAGE, this.#cursor);
      for (const each of page.sessions) if (!this.#listed.has(each.session_id)) this.#listed.set(each.session_id, each);
      this.#cursor = page.next_cursor;
      this.#hasMore = page.has_more;
      this.#total = page.total;
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      this.#error = error;
    } finally {
      this.#loading = false;
    }
    this.#changed();
  }

  /** What is newest may have changed unheard: it is asked for, soon. */
  refresh(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#refresh();
    }, REFRESH_MS);
  }

  async #refresh(): Promise<void> {
    let page: Page;
    try {
      page = await this.#ask(FIRST, null);
    } catch {
      return; // what is there is shown; the next one may succeed
    }
    if (this.#ended.signal.aborted) return;
    const newest = new Map(page.sessions.map((each) => [each.session_id, each]));
    const others = [...this.#listed].filter(([id]) => !newest.has(id));
    const rest = others.filter(([id]) => page.has_more && !this.#kept.has(id));
    const kept = others.filter(([id]) => this.#kept.has(id));
    if (!page.has_more || this.#listed.size === 0) {
      this.#hasMore = page.has_more;
      this.#cursor = page.next_cursor;
    }
    const top = [...newest, ...kept].sort(([, one], [, other]) => usedAt(other) - usedAt(one));
    this.#listed = new Map([...(kept.length > 0 ? top : newest), ...rest]);
    this.#total = page.total + kept.length;
    this.#changed();
  }

  /** A message was said: its conversation comes to the top. `unread`: nobody here has seen it. */
  heard({ session_id, content, created_at }: Heard, unread: boolean): void {
    const known = this.#listed.get(session_id);
    if (known === undefined) {
      if (this.view !== "archived") this.refresh();
      return;
    }
    this.#toTop({
      ...known,
      last_message: content ?? known.last_message,
      last_message_at: created_at ?? known.last_message_at,
      unread_count: unread ? known.unread_count + 1 : known.unread_count,
    });
  }

  /** It stays listed, though the server does not count it among these, until it is released or removed. */
  keep(listed: Listed): void {
    this.#kept.add(listed.session_id);
    if (!this.#listed.has(listed.session_id)) this.#toTop(listed);
  }

  /** The next refresh decides. */
  release(sessionId: string): void {
    this.#kept.delete(sessionId);
  }

  change(sessionId: string, change: Partial<Listed>): void {
    const known = this.#listed.get(sessionId);
    if (known === undefined) return;
    if (Object.entries(change).every(([name, value]) => known[name as keyof Listed] === value)) return;
    this.#listed.set(sessionId, { ...known, ...change });
    this.#changed();
  }

  remove(sessionId: string): void {
    this.#kept.delete(sessionId);
    if (!this.#listed.delete(sessionId)) return;
    this.#total = Math.max(0, this.#total - 1);
    this.#changed();
  }

  #toTop(listed: Listed): void {
    if (!this.#listed.delete(listed.session_id)) this.#total++;
    this.#listed = new Map([[listed.session_id, listed], ...this.#listed]);
    this.#changed();
  }

  #ask(limit: number, cursor: string | null): Promise<Page> {
    const place = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    return request<Page>(`/api/chat/sessions?${QUERIES[this.view]}&limit=${limit}${place}`, {
      signal: this.#ended.signal,
    });
  }

  #changed(): void {
    this.#snapshot = null;
    this.#telling ??= setTimeout(() => {
      this.#telling = undefined;
      for (const listener of [...this.#listeners]) listener();
    }, TELL_MS);
  }
}
