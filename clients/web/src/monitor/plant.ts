/** What the page knows of the machines: the live feed, and beside it what only HTTP tells - lines, and since when. */
import {
  type AtriumError,
  type Equipment,
  type EquipmentAlarm,
  isPassing,
  type Monitor,
  openMonitor,
} from "atrium-client";
import { request } from "../shell/http";
import { freshToken } from "../shell/identity";
import { type Status, statusOf } from "./status";

/**
 * `silent`: connected, but nothing comes. `failed`: tried often enough, all machines are gray; it is still tried now
 * and then, for displays that nobody stands at. `refused`: not tried again, the error says why.
 */
export type Link = "connecting" | "live" | "silent" | "reconnecting" | "failed" | "refused";

/** The same object until something of it changes. `since` is null where it is not known. */
export interface Machine {
  readonly code: string;
  readonly name: string;
  readonly line: string | null;
  readonly status: Status;
  readonly since: string | null;
  readonly quality: Equipment["quality"];
}

export interface PlantSnapshot {
  readonly link: Link;
  readonly error: AtriumError | undefined;
  /** By the server's clock: that of the newest status. What this computer's clock says does not matter. */
  readonly now: string | null;
  /** In the order of the server's file. */
  readonly machines: readonly Machine[];
  readonly lines: readonly string[];
  /** That are not over, the newest first. */
  readonly alarms: readonly EquipmentAlarm[];
}

interface Listed extends Equipment {
  readonly line: string;
  readonly since: string | null;
}

interface Fact {
  status: Status;
  since: string | null;
}

const PROBE_MS = 30_000;
const SILENT_MS = 5000; // at least, and as many periods
const SILENT_PERIODS = 5;
const MOST_SILENT_MS = 60_000;
const LIST_SOON_MS = 2000; // what has just changed is stored a moment later
const LIST_MS = 10_000; // while it is not known of all since when
const DIFFER_SECONDS = 3; // alarms and statuses do not come together
const DIFFER_AGAIN_SECONDS = 10;

export class Plant {
  readonly monitor: Monitor;
  #listeners = new Set<() => void>();
  #snapshot: PlantSnapshot;
  #facts = new Map<string, Fact>();
  #lines = new Map<string, string>();
  #machines = new Map<string, Machine>();
  #listed = new Map<string, Listed>();
  #differ = 0; // for so many seconds alarms and statuses do
  #line: string | null;
  #heard = 0;
  #period = 1000;
  #watch: ReturnType<typeof setInterval>;
  #listing: ReturnType<typeof setTimeout> | undefined;
  #stops: (() => void)[];

  /** `line`: only its machines are told of. */
  constructor(line: string | null) {
    this.#line = line;
    this.monitor = openMonitor({
      token: freshToken,
      probe: PROBE_MS,
      ...(line !== null && { filter: { lines: [line] } }),
    });
    this.#snapshot = this.#build();
    this.#stops = [
      this.monitor.subscribe(() => this.#changed()),
      this.monitor.connection.on("equipment_status", () => this.#hear()),
      this.monitor.connection.onState((state) => {
        if (state !== "connected") return clearTimeout(this.#listing);
        this.#heard = performance.now();
        void this.#list();
      }),
    ];
    this.#watch = setInterval(() => {
      if ((this.#snapshot.link === "silent") !== (this.#link() === "silent")) this.#changed();
      this.#compare();
    }, 1000);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): PlantSnapshot => this.#snapshot;

  /** As it was told last. */
  equipment(code: string): Equipment | undefined {
    return this.monitor.snapshot().equipmentData.find((each) => each.equipment_code === code);
  }

  lineOf(code: string): string | null {
    return this.#lines.get(code) ?? null;
  }

  /** Rejects with AtriumError, as for a line that there is not. */
  async narrow(line: string | null): Promise<void> {
    this.#line = line;
    await this.monitor.narrow(line === null ? undefined : { lines: [line] });
    this.#changed();
  }

  close(): void {
    clearInterval(this.#watch);
    clearTimeout(this.#listing);
    for (const stop of this.#stops) stop();
    this.monitor.close();
  }

  #hear(): void {
    const at = performance.now();
    if (this.#heard) this.#period = Math.min(at - this.#heard, MOST_SILENT_MS);
    this.#heard = at;
  }

  #changed(): void {
    this.#snapshot = this.#build();
    for (const listener of this.#listeners) listener();
  }

  #link(): Link {
    const { status, timestamp, error } = this.monitor.snapshot();
    if (status === "failed") return error && !isPassing(error) ? "refused" : "failed";
    if (status === "reconnecting") return error ? "reconnecting" : timestamp ? "reconnecting" : "connecting";
    const silence = performance.now() - this.#heard;
    const most = Math.min(MOST_SILENT_MS, Math.max(SILENT_MS, SILENT_PERIODS * this.#period));
    return silence > most ? "silent" : timestamp ? "live" : "connecting";
  }

  #build(): PlantSnapshot {
    const { equipmentData, alarms, timestamp, error } = this.monitor.snapshot();
    const link = this.#link();
    const now = timestamp ?? null;
    const gray = link === "failed" || link === "refused";
    return {
      link,
      error,
      now,
      machines: equipmentData.map((each) => (gray ? this.#gray(each, now) : this.#machine(each, now))),
      lines: [...new Set(this.#lines.values())],
      alarms: alarms
        .filter((each) => this.#line === null || this.#lines.get(each.equipment_code) === this.#line)
        .sort((a, b) => Date.parse(b.raised_at) - Date.parse(a.raised_at)),
    };
  }

  #machine(each: Equipment, now: string | null): Machine {
    const code = each.equipment_code;
    const status = statusOf(each);
    const known = this.#facts.get(code);
    const fact = known?.status === status ? known : { status, since: known ? now : this.#sinceListed(code, status) };
    this.#facts.set(code, fact);
    return this.#same({
      code,
      name: each.equipment_name,
      line: this.lineOf(code),
      status,
      since: fact.since,
      quality: each.quality,
    });
  }

  #sinceListed(code: string, status: Status): string | null {
    const listed = this.#listed.get(code);
    return listed && statusOf(listed) === status ? listed.since : null;
  }

  /** Nobody knows, since the link was lost. */
  #gray(each: Equipment, lost: string | null): Machine {
    const { equipment_code: code, equipment_name: name } = each;
    return this.#same({ code, name, line: this.lineOf(code), status: "disconnected", since: lost, quality: "bad" });
  }

  #same(made: Machine): Machine {
    const before = this.#machines.get(made.code);
    const keys = Object.keys(made) as (keyof Machine)[];
    if (before && keys.every((key) => before[key] === made[key])) return before;
    this.#machines.set(made.code, made);
    return made;
  }

  /** An alarm that is raised on the shelf is not told: where there should be one, or one less, all are listed. */
  #compare(): void {
    const { link, machines, alarms } = this.#snapshot;
    const status = new Map(machines.map((each) => [each.code, each.status]));
    const open = new Set(alarms.map(({ equipment_code, kind }) => `${equipment_code} ${kind}`));
    const missing = machines.some(
      (each) => (each.status === "error" || each.status === "disconnected") && !open.has(`${each.code} ${each.status}`),
    );
    const over = alarms.some(({ equipment_code, kind, flapping }) => {
      const now = status.get(equipment_code);
      return now !== undefined && !flapping && now !== kind && !(kind === "error" && now === "disconnected");
    });
    this.#differ = link === "live" && (missing || over) ? this.#differ + 1 : 0;
    if (this.#differ % DIFFER_AGAIN_SECONDS === DIFFER_SECONDS) void this.monitor.refresh();
  }

  /** On connecting and soon after, for what changed while it was not; then while there is more to know. */
  async #list(next = LIST_SOON_MS): Promise<void> {
    clearTimeout(this.#listing);
    let complete = false;
    try {
      const { equipment } = await request<{ equipment: Listed[] }>("/api/monitor/equipment");
      for (const each of equipment) {
        this.#lines.set(each.equipment_code, each.line);
        const fact = this.#facts.get(each.equipment_code);
        if (each.since !== null && fact?.status === statusOf(each)) fact.since = each.since;
      }
      this.#listed = new Map(equipment.map((each) => [each.equipment_code, each]));
      complete = [...this.#facts.values()].every(({ since }) => since !== null);
      this.#changed();
    } catch {
      // the feed goes on without
    }
    if (this.monitor.connection.state !== "connected" || (complete && next === LIST_MS)) return;
    clearTimeout(this.#listing);
    this.#listing = setTimeout(() => void this.#list(LIST_MS), next);
  }
}
