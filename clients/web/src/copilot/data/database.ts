/** The browser's own database of one person: data sets, their rows in parts, questions, and what was sent for them. */
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Asked } from "../thread/asked";
import type { Column, Row } from "./kinds";

export interface DataSet {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly columns: readonly Column[];
  /** The column that tells the day of a row, if there is just one. */
  readonly day: string | null;
  readonly rows: number;
  readonly bytes: number; // of all rows as JSON
  /** Whether the server may know that it is there. */
  readonly offered: boolean;
  /** The day on which a sample was made, while nobody has changed it: it is made anew every day. */
  readonly sample: string | null;
  readonly addedAt: number;
}

export interface Sent {
  readonly requestId: string;
  readonly questionId: string;
  /** Exactly as it went, without the request's id. */
  readonly payload: unknown;
}

interface Schema extends DBSchema {
  sets: { key: string; value: DataSet };
  parts: { key: [string, number]; value: { set: string; at: number; rows: Row[] } };
  questions: { key: string; value: Asked };
  sent: { key: string; value: Sent; indexes: { question: string } };
}

export type Database = IDBPDatabase<Schema>;

/** Two people at one browser do not see each other's data. Rejects where pages may keep none. */
export const openDatabase = (userId: string, tenant: string | null): Promise<Database> =>
  openDB<Schema>(`atrium.copilot/${tenant ?? ""}/${userId}`, 1, {
    upgrade(database) {
      database.createObjectStore("sets", { keyPath: "id" });
      database.createObjectStore("parts", { keyPath: ["set", "at"] });
      database.createObjectStore("questions", { keyPath: "id" });
      database.createObjectStore("sent", { keyPath: "requestId" }).createIndex("question", "questionId");
    },
  });
