/** How long machines were in each status, by shift. */
import { useEffect, useState } from "react";
import { request } from "../shell/http";
import type { Status } from "./status";

export type Known = Status | "unknown";
/** In which a bar stacks them. */
export const STACK: readonly Known[] = ["running", "idle", "stopped", "error", "disconnected", "unknown"];

/** Of a machine in a shift: of the part that was asked for and is over. `availability` is null where nothing is known. */
export interface ShiftRow {
  readonly equipment_code: string;
  readonly shift: string;
  readonly start: string;
  readonly end: string;
  readonly seconds: Readonly<Record<Known, number>>;
  readonly availability: number | null;
}

export interface Report {
  readonly from: string;
  readonly to: string;
  readonly timezone: string;
  readonly availability: readonly ShiftRow[];
}

const EVERY_MS = 60_000;

/** `97.2 %`, and never 100 % of what is not whole. */
export const percent = (share: number): string => `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;

/** By code, of the shift that is on, again every minute while the page is `live`. A failure leaves what was known. */
export const useShares = (live: boolean): ReadonlyMap<string, number> => {
  const [shares, setShares] = useState<ReadonlyMap<string, number>>(new Map());
  useEffect(() => {
    if (!live) return;
    const controller = new AbortController();
    const look = () =>
      request<Report>("/api/monitor/availability", { signal: controller.signal })
        .then(({ to, availability }) => {
          const now = availability.filter(
            ({ end, availability }) => Date.parse(end) > Date.parse(to) && availability !== null,
          );
          setShares(new Map(now.map(({ equipment_code, availability }) => [equipment_code, availability as number])));
        })
        .catch(() => undefined);
    void look();
    const timer = setInterval(look, EVERY_MS);
    return () => {
      controller.abort();
      clearInterval(timer);
    };
  }, [live]);
  return shares;
};
