/** A person's data sets: what there is, what is in them, and which rows answer a request. */
import { AtriumError } from "atrium-client";
import { newId } from "../../shell/ids";
import { Observed } from "../observed";
import { bytesOf, chosen, described, type Page, page } from "./answering";
import type { Database, DataSet } from "./database";
import { columnsOf, dayColumnOf, type Row } from "./kinds";
import { dayOf, type Sample, samples } from "./samples";

export const MOST_SETS = 20;
export const MOST_NAME = 80;
export const MOST_DESCRIPTION = 500;
const PART = 500; // rows
const SEEDED = "atrium.copilot.samples";

export interface NewSet {
  readonly name: string;
  readonly description: string;
  readonly names: readonly string[];
  readonly rows: readonly Row[];
}

export class DataSets extends Observed<readonly DataSet[] | null> {
  readonly #database: Database;
  readonly #others: BroadcastChannel;
  #sets: readonly DataSet[] | null = null;
  /** Of one data set: the server asks for page after page of the same. */
  #kept: { id: string; addedAt: number; rows: readonly Row[]; wish: string; chosen: readonly Row[] } | null = null;

  constructor(database: Database) {
    super();
    this.#database = database;
    this.#others = new BroadcastChannel(database.name);
    this.#others.onmessage = () => void this.#load();
  }

  readonly snapshot = () => this.#sets;

  /** With the samples, for who comes for the first time. */
  async open(): Promise<void> {
    await this.#load();
    const now = new Date();
    const today = dayOf(now);
    const old = (this.#sets ?? []).filter((set) => set.sample !== null && set.sample !== today);
    const first = !this.#sets?.length && localStorage.getItem(`${SEEDED}/${this.#database.name}`) === null;
    if (!first && !old.length) return;
    for (const sample of samples(now)) {
      const before = old.find((set) => set.name === sample.name);
      if (first || before !== undefined) await this.#sample(sample, today, before);
    }
    localStorage.setItem(`${SEEDED}/${this.#database.name}`, today);
    await this.#tellOthers();
  }

  close(): void {
    this.#others.close();
    this.#database.close();
  }

  /** The samples that are not there, as they were. */
  async restore(): Promise<void> {
    const now = new Date();
    for (const sample of samples(now)) if (!this.#named(sample.name)) await this.#sample(sample, dayOf(now));
    await this.#tellOthers();
  }

  /** Rejects with AtriumError: LIMIT_EXCEEDED for too many. A name that is taken gets a number. */
  async add(set: NewSet): Promise<DataSet> {
    if ((this.#sets?.length ?? 0) >= MOST_SETS) throw new AtriumError("LIMIT_EXCEEDED", "Too many data sets");
    let name = set.name;
    for (let number = 2; this.#named(name); number++) name = `${set.name.slice(0, MOST_NAME - 4)} ${number}`;
    const made = built({ ...set, name });
    await this.#put(made, set.rows);
    await this.#tellOthers();
    return made;
  }

  /** Rejects with AtriumError: CONFLICT for a name that another has. */
  async change(id: string, change: Partial<Pick<DataSet, "name" | "description" | "offered">>): Promise<void> {
    const set = this.#sets?.find((each) => each.id === id);
    if (set === undefined) return;
    if (change.name !== undefined && this.#named(change.name, id))
      throw new AtriumError("CONFLICT", "The name is taken");
    const own = change.name !== undefined || change.description !== undefined;
    await this.#database.put("sets", { ...set, ...change, sample: own ? null : set.sample });
    await this.#tellOthers();
  }

  async remove(id: string): Promise<void> {
    const change = this.#database.transaction(["sets", "parts"], "readwrite");
    await Promise.all([
      change.objectStore("sets").delete(id),
      change.objectStore("parts").delete(IDBKeyRange.bound([id, 0], [id, Number.MAX_SAFE_INTEGER])),
      change.done,
    ]);
    await this.#tellOthers();
  }

  async rows(set: DataSet): Promise<readonly Row[]> {
    return (await this.#whole(set)).rows;
  }

  /** What the server may know: names, descriptions, columns. */
  offered(): unknown[] {
    return described((this.#sets ?? []).filter((set) => set.offered));
  }

  /** Rejects where there is no such data set, or its rows are too wide for a message. */
  async answer(name: string, params: Readonly<Record<string, unknown>>, left: readonly string[]): Promise<Page> {
    const set = this.#sets?.find((each) => each.name === name && each.offered);
    if (set === undefined) throw new AtriumError("NOT_FOUND", `There is no data set ${name.slice(0, MOST_NAME)}`);
    const kept = await this.#whole(set);
    const wish = JSON.stringify([params.from, params.to, params.filters]);
    if (kept.wish !== wish) {
      kept.wish = wish;
      kept.chosen = chosen(set, kept.rows, params);
    }
    return page(set, kept.chosen, params, left);
  }

  async #whole(set: DataSet) {
    const kept = this.#kept;
    if (kept !== null && kept.id === set.id && kept.addedAt === set.addedAt) return kept;
    const parts = await this.#database.getAll(
      "parts",
      IDBKeyRange.bound([set.id, 0], [set.id, Number.MAX_SAFE_INTEGER]),
    );
    const rows = parts.flatMap((part) => part.rows);
    this.#kept = { id: set.id, addedAt: set.addedAt, rows, wish: "", chosen: rows };
    return this.#kept;
  }

  /** Two windows that are opened at once make the same one. */
  async #sample({ name, description, rows }: Sample, today: string, before?: DataSet): Promise<void> {
    const id = `sample/${name}`;
    const taken = before === undefined && this.#sets?.some((set) => set.id === id);
    const set = built({ name, description, names: Object.keys(rows[0] ?? {}), rows });
    const kept = { id: before?.id ?? (taken ? set.id : id), offered: before?.offered ?? true, sample: today };
    await this.#put({ ...set, ...kept }, rows);
  }

  #named(name: string, but?: string): boolean {
    const folded = name.trim().toLowerCase();
    return (this.#sets ?? []).some((set) => set.id !== but && set.name.trim().toLowerCase() === folded);
  }

  async #put(set: DataSet, rows: readonly Row[]): Promise<void> {
    const change = this.#database.transaction(["sets", "parts"], "readwrite");
    const parts = change.objectStore("parts");
    await parts.delete(IDBKeyRange.bound([set.id, 0], [set.id, Number.MAX_SAFE_INTEGER]));
    for (let at = 0; at < rows.length; at += PART) void parts.put({ set: set.id, at, rows: rows.slice(at, at + PART) });
    void change.objectStore("sets").put(set);
    await change.done;
    await this.#load();
  }

  async #load(): Promise<void> {
    this.#sets = (await this.#database.getAll("sets")).sort((one, other) => one.addedAt - other.addedAt);
    this.changed();
  }

  async #tellOthers(): Promise<void> {
    await this.#load();
    this.#others.postMessage(null);
  }
}

let last = 0;

const built = ({ name, description, names, rows }: NewSet): DataSet => {
  const columns = columnsOf(names, rows);
  last = Math.max(last + 1, Date.now());
  return {
    id: newId(),
    name,
    description,
    columns,
    day: dayColumnOf(columns, rows),
    rows: rows.length,
    bytes: bytesOf(rows),
    offered: true,
    sample: null,
    addedAt: last,
  };
};
