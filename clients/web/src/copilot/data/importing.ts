/** A file of rows, CSV or JSON, read within bounds. What is wrong with it is an `ImportFault`, for the person. */
import type { Row, Value } from "./kinds";

export const MOST_FILE_BYTES = 10 * 1024 * 1024;
export const MOST_ROWS = 50_000;
export const MOST_COLUMNS = 60;
const MOST_LETTERS = 2000; // of a value
const MOST_NAME = 100; // of a column

export type FaultKind =
  | "big"
  | "rows"
  | "columns"
  | "empty"
  | "encoding"
  | "json"
  | "shape"
  | "csv"
  | "header"
  | "type";

export class ImportFault extends Error {
  override readonly name = "ImportFault";
  constructor(
    readonly kind: FaultKind,
    readonly detail = "",
  ) {
    super(kind);
  }
}

export interface Imported {
  readonly name: string;
  readonly names: readonly string[];
  readonly rows: Row[];
  /** Values that were longer than they may be. */
  readonly clipped: number;
}

export const readFile = async (file: File): Promise<Imported> => {
  if (file.size > MOST_FILE_BYTES) throw new ImportFault("big");
  const text = decoded(await file.arrayBuffer());
  const name =
    file.name
      .replace(/\.[^.]*$/, "")
      .trim()
      .slice(0, 80) || "data";
  if (/\.json$/i.test(file.name) || file.type === "application/json") return { name, ...fromJson(text) };
  if (/\.(csv|tsv|txt)$/i.test(file.name) || file.type.startsWith("text/")) return { name, ...(await fromCsv(text)) };
  throw new ImportFault("type");
};

/** UTF-8, or what Korean spreadsheets write. */
const decoded = (bytes: ArrayBuffer): string => {
  for (const encoding of ["utf-8", "euc-kr"]) {
    try {
      const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
      if (!text.includes("\0")) return text;
    } catch {
      // not in this one
    }
  }
  throw new ImportFault("encoding");
};

type Read = Omit<Imported, "name">;

const fromCsv = async (text: string): Promise<Read> => {
  const { default: Papa } = await import("papaparse");
  const found = Papa.parse<string[]>(text, { skipEmptyLines: "greedy", preview: MOST_ROWS + 2 });
  const [header, ...lines] = found.data;
  const broken = found.errors.find((error) => error.type === "Quotes");
  if (broken) throw new ImportFault("csv", String((broken.row ?? 0) + 1));
  if (header === undefined || !lines.length) throw new ImportFault("empty");
  if (lines.length > MOST_ROWS) throw new ImportFault("rows");
  if (header.length > MOST_COLUMNS) throw new ImportFault("columns", String(header.length));
  const names = header.map((name, at) => name.trim().slice(0, MOST_NAME) || `column_${at + 1}`);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new ImportFault("header", twice);
  const numeric = names.map((_, at) =>
    lines.every((line) => /^(-?(0|[1-9]\d{0,14})(\.\d{1,10})?)?$/.test((line[at] ?? "").trim())),
  );
  let clipped = 0;
  const rows = lines.map((line) =>
    made(names, (_, at) => {
      const value = line[at]?.trim() ?? "";
      if (value === "") return null;
      if (numeric[at]) return Number(value);
      if (value.length > MOST_LETTERS) clipped++;
      return value.slice(0, MOST_LETTERS);
    }),
  );
  return { names, rows, clipped };
};

const fromJson = (text: string): Read => {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new ImportFault("json", error instanceof Error ? error.message.slice(0, 200) : "");
  }
  if (!Array.isArray(found) && typeof found === "object" && found !== null) {
    found = Object.values(found).find(Array.isArray); // {"data": [...]}
  }
  if (!Array.isArray(found)) throw new ImportFault("shape");
  if (!found.length) throw new ImportFault("empty");
  if (found.length > MOST_ROWS) throw new ImportFault("rows");
  const names = new Set<string>();
  for (const [at, row] of found.entries()) {
    if (typeof row !== "object" || row === null || Array.isArray(row)) throw new ImportFault("shape", String(at + 1));
    for (const name of Object.keys(row)) names.add(name);
    if (names.size > MOST_COLUMNS) throw new ImportFault("columns", `> ${MOST_COLUMNS}`);
  }
  const listed = [...names].filter((name) => name.length <= MOST_NAME);
  if (!listed.length) throw new ImportFault("empty");
  let clipped = 0;
  const rows = found.map((row: Record<string, unknown>) =>
    made(listed, (name) => {
      const value = Object.hasOwn(row, name) ? row[name] : null;
      if (value === null || typeof value === "boolean" || typeof value === "number") return value;
      const written = typeof value === "string" ? value : JSON.stringify(value);
      if (written.length > MOST_LETTERS) clipped++;
      return written.slice(0, MOST_LETTERS);
    }),
  );
  return { names: listed, rows, clipped };
};

/** A name may be `__proto__`: it is one like any other. */
const made = (names: readonly string[], cell: (name: string, at: number) => Value): Row =>
  Object.fromEntries(names.map((name, at) => [name, cell(name, at)]));
