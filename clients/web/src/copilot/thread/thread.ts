/** The questions of a person, newest first, in memory and in the browser's database. It knows no connection. */

import { newId } from "../../shell/ids";
import { bytesOf } from "../data/answering";
import type { Database, Sent } from "../data/database";
import { Observed } from "../observed";
import { type Asked, asking, type Exchange, isOpen, type State } from "./asked";

const MOST = 50;
const MOST_EXCHANGES = 200;
const MOST_KEPT_BYTES = 8_000_000; // of what was sent, for each question
const FORGOTTEN_MS = 15 * 60_000; // what another window left open is not open any more
const SAVE_MS = 200;
const TAB = "atrium.copilot.tab";

export class Thread extends Observed<readonly Asked[]> {
  readonly tab: string;
  readonly #database: Database;
  #asked: readonly Asked[] = [];
  readonly #unsaved = new Map<string, Asked>();
  #saving: ReturnType<typeof setTimeout> | undefined;

  constructor(database: Database) {
    super();
    this.#database = database;
    this.tab = sessionStorage.getItem(TAB) ?? newId();
    sessionStorage.setItem(TAB, this.tab); // it outlives a reload
  }

  readonly snapshot = () => this.#asked;

  async open(): Promise<void> {
    const stored = await this.#database.getAll("questions");
    this.#asked = stored
      .filter((asked) => !isOpen(asked) || asked.tab === this.tab)
      .sort((one, other) => other.at - one.at);
    for (const asked of stored) {
      if (isOpen(asked) && asked.tab !== this.tab && Date.now() - asked.at > FORGOTTEN_MS) await this.#drop(asked.id);
    }
    await this.#trim();
    this.changed();
  }

  find = (id: string): Asked | undefined => this.#asked.find((asked) => asked.id === id);

  /** The one that the server works at. */
  get running(): Asked | undefined {
    return this.#asked.find((asked) => asked.state === "running" || asked.state === "sending");
  }

  /** The oldest that waits. */
  get next(): Asked | undefined {
    return this.#asked.findLast((asked) => asked.state === "queued");
  }

  add(text: string, state: State = "queued"): Asked {
    const asked = asking(newId(), text, this.tab, state);
    this.#asked = [asked, ...this.#asked];
    this.#save(asked);
    void this.#trim();
    return asked;
  }

  change(id: string, change: Partial<Asked>): void {
    const before = this.find(id);
    if (before === undefined) return;
    const asked = { ...before, ...change };
    this.#asked = this.#asked.map((each) => (each.id === id ? asked : each));
    this.#save(asked);
  }

  /** A request that is known by its id is the same one: put again, or gone on. */
  exchange(id: string, exchange: Exchange): void {
    const asked = this.find(id);
    if (asked === undefined) return;
    const at = asked.exchanges.findIndex((each) => each.requestId === exchange.requestId);
    const before = asked.exchanges[at];
    const exchanges =
      at < 0 ? [...asked.exchanges, exchange].slice(-MOST_EXCHANGES) : asked.exchanges.with(at, exchange);
    const news = exchange.outcome === "sent" && before?.outcome !== "sent";
    this.change(id, {
      exchanges,
      total: {
        requests: asked.total.requests + (at < 0 ? 1 : 0),
        rows: asked.total.rows + (news && exchange.kind === "rows" ? (exchange.count ?? 0) : 0),
        bytes: asked.total.bytes + (news ? (exchange.bytes ?? 0) : 0),
      },
    });
  }

  /** Keeps what was sent, to be looked at. False where there is too much of it. */
  async keep(id: string, requestId: string, payload: unknown): Promise<boolean> {
    const asked = this.find(id);
    if (asked === undefined || asked.total.bytes + bytesOf(payload) > MOST_KEPT_BYTES) return false;
    return this.#database.put("sent", { requestId, questionId: id, payload }).then(
      () => true,
      () => false, // there is no room left
    );
  }

  sent = (requestId: string): Promise<Sent | undefined> => this.#database.get("sent", requestId);

  /** A question of another window, which the server now speaks of to this one: it is this one's from here on. */
  async adopt(which: (asked: Asked) => boolean): Promise<Asked | undefined> {
    const stored = await this.#database.getAll("questions");
    const found = stored.find((asked) => isOpen(asked) && asked.tab !== this.tab && which(asked));
    if (found === undefined) return undefined;
    const adopted = { ...found, tab: this.tab };
    if (this.find(adopted.id) === undefined) {
      this.#asked = [adopted, ...this.#asked].sort((one, other) => other.at - one.at);
      this.#save(adopted);
    }
    return this.find(adopted.id);
  }

  async remove(id: string): Promise<void> {
    this.#asked = this.#asked.filter((asked) => asked.id !== id);
    this.changed();
    await this.#drop(id);
  }

  async clear(): Promise<void> {
    for (const asked of this.#asked.filter((each) => !isOpen(each))) await this.remove(asked.id);
  }

  /** Writes what changed since it was last written. */
  readonly flush = (): void => {
    for (const asked of this.#unsaved.values()) {
      this.#database.put("questions", asked).catch(() => undefined); // shown all the same, until the page is left
    }
    this.#unsaved.clear();
  };

  /** At once, for a reload may come; but not for each of many changes. */
  #save(asked: Asked): void {
    this.changed();
    this.#unsaved.set(asked.id, asked);
    if (this.#saving !== undefined) return;
    queueMicrotask(this.flush);
    this.#saving = setTimeout(() => {
      this.#saving = undefined;
      this.flush();
    }, SAVE_MS);
  }

  async #trim(): Promise<void> {
    const over = this.#asked.filter((asked) => !isOpen(asked)).slice(MOST);
    for (const asked of over) await this.remove(asked.id);
  }

  async #drop(id: string): Promise<void> {
    this.#unsaved.delete(id);
    const change = this.#database.transaction(["questions", "sent"], "readwrite");
    await change.objectStore("questions").delete(id);
    for (const key of await change.objectStore("sent").index("question").getAllKeys(id)) {
      await change.objectStore("sent").delete(key);
    }
    await change.done;
  }
}
