/** What of a data set answers a request for rows: period, filters, columns, page; and what fits into one message. */
import type { DataSet } from "./database";
import { daysOf, labelOf, type Row, type Value } from "./kinds";

export interface Page {
  readonly rows: readonly Row[];
  readonly bytes: number; // as JSON
  /** Columns that did not fit. */
  readonly left: readonly string[];
}

/** The server takes 65,536 a message unless it is set otherwise; the rest is for the packet around the rows. */
export const MOST_BYTES = 64_000;
const MOST_ROWS = 10_000;

const encoder = new TextEncoder();
export const bytesOf = (value: unknown): number => encoder.encode(JSON.stringify(value)).length;

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Those of the period and with the values asked for; a wish that this data set cannot follow leaves all of them. */
export const chosen = (
  set: DataSet,
  rows: readonly Row[],
  params: Readonly<Record<string, unknown>>,
): readonly Row[] => {
  const { from, to } = params;
  const { day } = set;
  let found = rows;
  if (day !== null && typeof from === "string" && typeof to === "string") {
    found = found.filter((row) => {
      const days = daysOf(row[day]);
      return days === null || (days[0] <= to && days[1] >= from); // the planner counts what has no day
    });
  }
  const filters = isObject(params.filters) ? params.filters : {};
  for (const [name, values] of Object.entries(filters)) {
    if (!Array.isArray(values) || !set.columns.some((column) => column.name === name)) continue;
    const wanted = new Set(values.map(String));
    found = found.filter((row) => wanted.has(labelOf(row[name]) ?? ""));
  }
  return found;
};

/** A part of the rows `chosen`. Columns in `left` stay here. */
export const page = (
  set: DataSet,
  rows: readonly Row[],
  params: Readonly<Record<string, unknown>>,
  left: readonly string[],
): Page => {
  const offset = whole(params.offset, 0);
  const limit = Math.min(whole(params.limit, MOST_ROWS), MOST_ROWS);
  const wanted = Array.isArray(params.columns) ? new Set(params.columns.map(String)) : null;
  const named = set.columns.map((column) => column.name);
  const asked = wanted === null ? named : named.filter((name) => wanted.has(name));
  const part = rows.slice(offset, offset + limit);
  return fitting(set, part, asked.length ? asked : named, params, left);
};

/**
 * A page that is shorter than its limit would say that it is the last, so what does not fit is left out by column: the
 * longest texts first, then numbers but the first, from the right, then categories; never days, nor what is filtered by.
 * Throws where that does not help.
 */
const fitting = (
  set: DataSet,
  rows: readonly Row[],
  names: readonly string[],
  params: Readonly<Record<string, unknown>>,
  before: readonly string[],
): Page => {
  const left = before.filter((name) => names.includes(name));
  const filters = isObject(params.filters) ? params.filters : {};
  const spare = set.columns.filter(({ name, kind }) => kind !== "date" && names.includes(name) && !(name in filters));
  const texts = spare
    .filter(({ kind, values }) => kind === "string" && values === undefined)
    .map((column) => ({ ...column, size: bytesOf(rows.map((row) => row[column.name] ?? null)) }))
    .sort((one, other) => one.size - other.size);
  const numbers = spare.filter(({ kind }) => kind === "number").slice(1);
  const categories = spare.filter(({ values }) => values !== undefined);
  const order = [...categories, ...numbers, ...texts].map(({ name }) => name).filter((name) => !left.includes(name));
  for (;;) {
    const kept = names.filter((name) => !left.includes(name));
    const shown = rows.map((row) => only(row, kept));
    const bytes = bytesOf(shown);
    if (bytes <= MOST_BYTES) return { rows: shown, bytes, left };
    const last = order.pop();
    if (last === undefined || kept.length < 2) throw new Error("too wide");
    left.push(last);
  }
};

const only = (row: Row, names: readonly string[]): Row =>
  Object.fromEntries(names.filter((name) => row[name] !== undefined).map((name) => [name, row[name] as Value]));

const whole = (value: unknown, otherwise: number): number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : otherwise;

/** What the server is told of a data set. Values of categories are left away where they would be too much. */
export const described = (sets: readonly DataSet[]): unknown[] => {
  const tell = (values: boolean) =>
    sets.map(({ name, description, columns }) => ({
      name,
      description,
      columns: columns.map((column) => ({
        name: column.name,
        type: column.kind,
        ...(values && column.values && { values: column.values }),
      })),
    }));
  const all = tell(true);
  return bytesOf(all) <= MOST_BYTES ? all : tell(false);
};
