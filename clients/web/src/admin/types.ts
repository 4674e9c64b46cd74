/** What `/api/admin` answers, as far as it is shown. */

export interface Silent {
  /** Nodes that live but did not answer in time. */
  readonly silent: readonly string[];
}

export interface Outbox {
  readonly messages: number;
  readonly bytes: number;
  readonly peak_messages: number;
  readonly peak_bytes: number;
  readonly dropped: number;
  readonly conflated: number;
}

export interface Listed {
  readonly connection_id: string;
  readonly namespace: string;
  readonly user_id: string;
  readonly tenant: string | null;
  readonly address: string;
  readonly connected_at: string;
  readonly node: string;
  readonly transport: string;
  readonly door: string;
  readonly recovered: boolean;
  readonly rooms: number;
  readonly outbox: Outbox;
}

export interface Connections extends Silent {
  readonly connections: readonly Listed[];
  readonly total: number;
}

export interface Happening {
  readonly at: string;
  readonly what: string;
  readonly [field: string]: unknown;
}

export interface Entered {
  readonly room: string;
  readonly kind: string;
  readonly name: string;
  readonly entered_at: string;
}

export interface Inspected extends Omit<Listed, "rooms" | "outbox"> {
  readonly state: "connected" | "gone";
  readonly rooms: readonly Entered[];
  readonly outbox: Outbox | null;
  readonly roles: readonly string[];
  readonly token_expires_at: string | null;
  readonly disconnected_at: string | null;
  readonly reason: string | null;
  readonly record: readonly Happening[];
  readonly record_lost: number;
}

export interface Room {
  readonly namespace: string;
  readonly room: string;
  readonly kind: string;
  readonly name: string;
  readonly tenant: string | null;
  readonly members: number;
  readonly nodes: Readonly<Record<string, number>>;
}

export interface Rooms extends Silent {
  readonly rooms: readonly Room[];
  readonly total: number;
}

export interface NodeFigures {
  readonly node: string;
  readonly this: boolean;
  readonly version: string;
  readonly started_at: string;
  readonly uptime_s: number;
  readonly pid: number;
  readonly draining: boolean;
  readonly connections: Readonly<Record<string, number>>;
  readonly max_connections: number;
  readonly rooms: number;
  readonly process: {
    readonly rss_bytes: number | null;
    readonly cpu_percent: number | null;
    readonly loop_lag_ms: number | null;
    readonly loop_lag_peak_ms: number | null;
    readonly open_files: number | null;
  };
  readonly rates: { readonly events_in: number; readonly events_out: number };
  readonly redis: {
    readonly state: string;
    readonly since: string | null;
    readonly held: number;
    readonly lost: number;
  };
}

export interface Nodes extends Silent {
  readonly nodes: readonly NodeFigures[];
}

export type Column = readonly (number | null)[];

export interface NamespaceColumns {
  readonly events_in: Column;
  readonly events_out: Column;
  readonly errors: Column;
  readonly ack_p50_ms: Column;
  readonly ack_p99_ms: Column;
  readonly write_p50_ms: Column;
  readonly write_p99_ms: Column;
  readonly connections: Column;
  readonly recoveries: { readonly resumed: Column; readonly refused: Column };
  readonly rate_limited: Column;
}

export interface Figures extends Silent {
  readonly t: readonly number[];
  readonly namespaces: Readonly<Record<string, NamespaceColumns>>;
  readonly all: Readonly<Record<string, Column>>;
}

export interface Alert {
  readonly id: string;
  readonly kind: string;
  readonly severity: "info" | "warning" | "critical";
  readonly state: "firing" | "resolved";
  readonly node: string;
  readonly since: string;
  readonly until: string | null;
  readonly last_at: string;
  readonly count: number;
  readonly text: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface Alerts extends Silent {
  readonly alerts: readonly Alert[];
}

export interface JudgedMessage {
  readonly seq: number | null;
  readonly offset: string | null;
  readonly at: string;
  readonly event: string | null;
}

export interface Verdict {
  readonly code: string;
  readonly text: string;
  readonly message: JudgedMessage | null;
  readonly evidence: readonly Happening[];
  readonly messages:
    | readonly { readonly message: JudgedMessage; readonly code: string; readonly text: string }[]
    | null;
}
