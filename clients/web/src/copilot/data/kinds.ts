/** What a column holds, told by its values, as the server's planner will read them. Nothing here changes a value. */

export type Value = string | number | boolean | null;
export type Row = Readonly<Record<string, Value>>;
export type Kind = "date" | "number" | "string";

export interface Column {
  readonly name: string;
  readonly kind: Kind;
  /** Of a category: all there are, if they are few. The planner asks only for the rows that a question names. */
  readonly values?: readonly string[];
}

const SAMPLE = 1000;
const ENOUGH = 0.8; // of a column's values, as the planner has it
const MOST_VALUES = 40;
const MOST_LETTERS = 50;

const NUMBER = /^\(?[+-]?\s*[$€£¥₩]?\s*[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?\s*(?:%|원|usd|krw|eur|jpy)?\)?$/i;
const DAY = /^(\d{4})\s*[-/.년]\s?(\d{1,2})(?:\s*[-/.월]\s?(\d{1,2}))?(?!\d)/;
const COMPACT_DAY = /^((?:19|20)\d\d)(\d\d)(\d\d)$/;
/** Written so that only the planner reads them, by its longer list of forms; or numbers that count seconds. */
const OTHER_DAY =
  /^(?:[a-z]{3,9}\.?\s+(?:\d{1,2}(?:st|nd|rd|th)?,?\s+)?\d{4}|\d{1,2}(?:st|nd|rd|th)?[-\s/.]+(?:[a-z]{3,9}|\d{1,2})\.?,?[-\s/.]+\d{4})/i;
const TIMELY = /date|day|time|stamp|created|updated|(?:^|[_\s])(?:at|ts)$|At$|날짜|일자|일시|시각/;

/** The first and the last day that it means, `2025-10` being a month; null for what is none, or not for us to tell. */
export const daysOf = (value: Value | undefined): readonly [string, string] | null => {
  if (typeof value !== "string" || value.length > MOST_LETTERS) return null;
  const text = value.trim();
  const found = DAY.exec(text) ?? COMPACT_DAY.exec(text);
  if (found === null) return null;
  const [, year, month = "", day] = found;
  if (Number(month) < 1 || Number(month) > 12 || (day !== undefined && (Number(day) < 1 || Number(day) > 31)))
    return null;
  const start = `${year}-${month.padStart(2, "0")}`;
  return day === undefined
    ? [`${start}-01`, `${start}-31`]
    : (Array<string>(2).fill(`${start}-${day.padStart(2, "0")}`) as [string, string]);
};

export const isMissing = (value: Value | undefined): boolean =>
  value === null || value === undefined || (typeof value === "string" && value.trim() === "");

const isNumber = (value: Value): boolean =>
  typeof value === "number" || (typeof value === "string" && /\d/.test(value) && NUMBER.test(value.trim()));

/** A category's name, as the planner compares it. */
export const labelOf = (value: Value | undefined): string | null => {
  if (isMissing(value)) return null;
  return String(value).trim().slice(0, 200);
};

const mightBeDay = (name: string, value: Value): boolean =>
  daysOf(value) !== null ||
  (typeof value === "string" && OTHER_DAY.test(value.trim())) ||
  (TIMELY.test(name) && !Number.isNaN(Number(value)));

/** In the order of the names given. */
export const columnsOf = (names: readonly string[], rows: readonly Row[]): Column[] => {
  const step = Math.max(1, Math.floor(rows.length / SAMPLE));
  const spread = rows.filter((_, at) => at % step === 0);
  return names.map((name) => {
    const values = spread.map((row) => row[name]).filter((value) => !isMissing(value)) as Value[];
    const most = values.length * ENOUGH;
    if (!values.length) return { name, kind: "string" };
    if (values.filter((value) => daysOf(value) !== null).length >= most) return { name, kind: "date" };
    if (values.filter(isNumber).length >= most) return { name, kind: "number" };
    const distinct = new Set<string>();
    for (const row of rows) {
      const label = labelOf(row[name]);
      if (label === null) continue;
      if (label.length > MOST_LETTERS) return { name, kind: "string" };
      distinct.add(label);
      if (distinct.size > MOST_VALUES) return { name, kind: "string" };
    }
    return { name, kind: "string", values: [...distinct].sort() };
  });
};

/**
 * The one column that tells rows' days. Null where none does, or where there may be two: the planner chooses among them
 * by the question, so rows are then sent whatever their day.
 */
export const dayColumnOf = (columns: readonly Column[], rows: readonly Row[]): string | null => {
  const days = columns.filter((column) => column.kind === "date");
  const [only] = days;
  if (days.length !== 1 || only === undefined) return null;
  const step = Math.max(1, Math.floor(rows.length / SAMPLE));
  const spread = rows.filter((_, at) => at % step === 0);
  const rivals = columns.some(
    ({ name }) =>
      name !== only.name && spread.some((row) => !isMissing(row[name]) && mightBeDay(name, row[name] as Value)),
  );
  return rivals ? null : only.name;
};
