/** A machine's changes, and the bar that they are drawn as. */
import { request } from "../shell/http";
import { type Known, STACK } from "./shares";
import type { Status } from "./status";

export interface Change {
  readonly timestamp: string;
  readonly status: Status;
  readonly previous_status: Status | null;
}

/** From `from` to `to`, the newest first. `complete`: no older ones were left out. */
export interface History {
  readonly from: string;
  readonly to: string;
  readonly changes: readonly Change[];
  readonly complete: boolean;
}

interface Page {
  readonly from: string;
  readonly to: string;
  readonly changes: readonly Change[];
  readonly next_before?: string;
}

const PAGE = 1000;
const MOST = 3000;

/** Rejects with AtriumError. */
export const loadHistory = async (code: string, from: string, signal: AbortSignal): Promise<History> => {
  const path = `/api/monitor/equipment/${encodeURIComponent(code)}/history?from=${encodeURIComponent(from)}&limit=${PAGE}`;
  let page = await request<Page>(path, { signal });
  const { to } = page;
  const changes = [...page.changes];
  while (page.next_before !== undefined && changes.length < MOST) {
    page = await request<Page>(`${path}&before=${encodeURIComponent(page.next_before)}`, { signal });
    changes.push(...page.changes);
  }
  return { from: page.from, to, changes, complete: page.next_before === undefined };
};

/** Without the time at its beginning of which nothing is known: a server of ten minutes fills the bar of a day, and
 * does not show as a stroke at its end. */
export const known = (history: History): History => {
  const oldest = history.changes.at(-1);
  const starts = history.complete && oldest !== undefined && oldest.previous_status === null;
  return starts && Date.parse(oldest.timestamp) > Date.parse(history.from)
    ? { ...history, from: oldest.timestamp }
    : history;
};

/** In columns, from the left. */
export interface Segment {
  readonly status: Known;
  readonly start: number;
  readonly width: number;
}

/** A column shows the worst of what happened in it: a fault of a second is seen in a month. `current` is the status of
 * a machine that did not change in all that time. */
export const segments = ({ from, to, changes, complete }: History, current: Known, columns: number): Segment[] => {
  const start = Date.parse(from);
  const length = Math.max(1, Date.parse(to) - start);
  const column = (at: number) => Math.min(columns, Math.max(0, ((at - start) / length) * columns));
  const worst = new Int8Array(columns).fill(-1);
  const paint = (status: Known, begin: number, end: number) => {
    const rank = status === "unknown" ? -1 : STACK.indexOf(status);
    for (let at = Math.floor(begin); at < Math.max(Math.ceil(end), Math.floor(begin) + 1) && at < columns; at++) {
      worst[at] = Math.max(worst[at] ?? -1, rank);
    }
  };
  let end = columns;
  for (const change of changes) {
    const at = column(Date.parse(change.timestamp));
    paint(change.status, at, end);
    end = at;
  }
  if (complete && end > 0)
    paint(changes.length === 0 ? current : (changes.at(-1)?.previous_status ?? "unknown"), 0, end);

  const found: Segment[] = [];
  worst.forEach((rank, at) => {
    const status = rank < 0 ? "unknown" : (STACK[rank] ?? "unknown");
    const last = found.at(-1);
    if (last?.status === status) found[found.length - 1] = { ...last, width: last.width + 1 };
    else found.push({ status, start: at, width: 1 });
  });
  return found;
};

/** What it was at that moment; `unknown` where that was not loaded. */
export const statusAt = ({ changes, complete }: History, current: Known, at: number): Known => {
  const change = changes.find(({ timestamp }) => Date.parse(timestamp) <= at);
  if (change) return change.status;
  if (!complete) return "unknown";
  return changes.length === 0 ? current : (changes.at(-1)?.previous_status ?? "unknown");
};
