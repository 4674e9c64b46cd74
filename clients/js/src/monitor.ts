import { type Connection, type ConnectionState, type ConnectOptions, connect } from "./connection.js";
import type { AtriumError } from "./errors.js";
import { Store, tell } from "./store.js";
import type { AlarmNotice, Equipment, EquipmentAlarm, MonitorFilter } from "./types.js";

export interface MonitorOptions extends Omit<ConnectOptions, "namespace"> {
  /** Only machines that fit all of it. */
  filter?: MonitorFilter | undefined;
}

export interface MonitorSnapshot {
  status: "connected" | "reconnecting" | "failed";
  /** When the link has failed all machines are without connection. */
  equipmentData: readonly Equipment[];
  /** Those that are not over; by machine and kind. */
  alarms: readonly EquipmentAlarm[];
  /** When the newest status was made, by the server's clock. */
  timestamp: string | undefined;
  error: AtriumError | undefined;
}

/** What a notice does not tell. */
const UNTOUCHED = {
  cleared_at: null,
  acknowledged_at: null,
  acknowledged_by: null,
  acknowledge_comment: null,
  shelved_by: null,
  shelve_comment: null,
  unshelved_by: null,
};
const RETRY_MS = 2000;

/** Connects to `/monitor`; by default every 3 seconds, five times, and then it has failed. */
export function openMonitor(options: MonitorOptions = {}): Monitor {
  return new Monitor(options);
}

export class Monitor extends Store<MonitorSnapshot> {
  readonly connection: Connection<"/monitor">;
  #equipment: readonly Equipment[] = [];
  #timestamp: string | undefined;
  #alarms = new Map<string, EquipmentAlarm>();
  #meanwhile: AlarmNotice[] | undefined; // while alarms are listed: what the list may not know
  #filter: MonitorFilter | undefined;
  #listeners = new Set<(notice: AlarmNotice) => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ filter, ...options }: MonitorOptions) {
    super();
    this.#filter = filter;
    this.connection = connect({ policy: "monitor", ...options, namespace: "/monitor" });
    this.connection.on("equipment_status", (status) => {
      if (!Array.isArray(status?.equipment)) return;
      this.#equipment = status.equipment;
      this.#timestamp = status.timestamp;
      this.changed();
    });
    this.connection.on("equipment_alarm", (notice) => this.#noticed(notice));
    this.connection.onState(this.#follow);
  }

  /** Of every change of an alarm. The result stops it. */
  onAlarm(listener: (notice: AlarmNotice) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Instead of what it saw before; all again without a filter. */
  async narrow(filter?: MonitorFilter): Promise<void> {
    this.#filter = filter;
    if (this.connection.state === "connected") await this.#narrow();
  }

  async acknowledge(alarmId: string, comment?: string): Promise<void> {
    await this.connection.call("alarm_acknowledge", { alarm_id: alarmId, ...(comment && { comment }) });
  }

  async shelve(alarmId: string, minutes: number, comment?: string): Promise<void> {
    await this.connection.call("alarm_shelve", { alarm_id: alarmId, minutes, ...(comment && { comment }) });
  }

  async unshelve(alarmId: string): Promise<void> {
    await this.connection.call("alarm_unshelve", { alarm_id: alarmId });
  }

  /** Lists the alarms anew, as on connecting: those that are raised on the shelf are not told. */
  async refresh(): Promise<void> {
    if (this.connection.state === "connected") await this.#list();
  }

  retry(): void {
    this.connection.retry();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.connection.close();
  }

  protected override build(): MonitorSnapshot {
    const { state, error } = this.connection;
    return {
      status: state === "connected" || state === "failed" ? state : state === "closed" ? "failed" : "reconnecting",
      equipmentData: this.#equipment,
      alarms: [...this.#alarms.values()],
      timestamp: this.#timestamp,
      error,
    };
  }

  #follow = (state: ConnectionState): void => {
    clearTimeout(this.#timer);
    if (state === "connected") {
      if (this.#filter && !this.connection.recovered) this.#narrow().catch(() => {});
      void this.#list();
    } else if (state === "failed") {
      this.#equipment = this.#equipment.map((each) => ({ ...each, tags: { ...each.tags, connection: false } }));
    }
    this.changed();
  };

  #narrow(): Promise<unknown> {
    return this.#filter ? this.connection.call("subscribe", this.#filter) : this.connection.call("unsubscribe");
  }

  /** Alarms are told only as they change. */
  async #list(): Promise<void> {
    clearTimeout(this.#timer);
    const meanwhile: AlarmNotice[] = [];
    this.#meanwhile = meanwhile;
    try {
      const { alarms } = await this.connection.call("alarms", { state: "active" });
      if (this.#meanwhile !== meanwhile) return; // a newer list is on its way
      this.#alarms = new Map(alarms.map((alarm) => [alarm.alarm_id, alarm]));
      for (const notice of meanwhile) this.#apply(notice);
      this.changed();
    } catch (error) {
      if (this.#meanwhile !== meanwhile || (error as AtriumError).code === "NOT_FOUND") return; // none are kept there
      this.#timer = setTimeout(() => void this.refresh(), RETRY_MS);
    } finally {
      if (this.#meanwhile === meanwhile) this.#meanwhile = undefined;
    }
  }

  #noticed(notice: AlarmNotice): void {
    this.#meanwhile?.push(notice);
    this.#apply(notice);
    this.changed();
    tell(this.#listeners, notice);
  }

  #apply(notice: AlarmNotice): void {
    const { state, status: _, previous_status: __, timestamp, by, comment, cleared_at, ...alarm } = notice;
    if (state === "cleared" || cleared_at !== undefined) {
      this.#alarms.delete(alarm.alarm_id);
      return;
    }
    const known = { ...UNTOUCHED, ...this.#alarms.get(alarm.alarm_id), shelved_until: null, ...alarm };
    if (state === "acknowledged") {
      Object.assign(known, { acknowledged_at: timestamp, acknowledged_by: by, acknowledge_comment: comment ?? null });
    }
    if (state === "shelved") Object.assign(known, { shelved_by: by, shelve_comment: comment ?? null });
    this.#alarms.set(alarm.alarm_id, known);
  }
}
