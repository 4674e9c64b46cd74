import type { MonitorWords } from "./words";

/** As the machine is shown; its colour, word and shape go by it. */
export type Status = "running" | "idle" | "stopped" | "error" | "disconnected";

/** What calls for a person comes first. */
export const STATUSES: readonly Status[] = ["error", "disconnected", "stopped", "idle", "running"];

interface Told {
  readonly status: string;
  readonly tags: { readonly error_tag: number; readonly connection: boolean };
}

/** `getEquipmentColor()` of the monitor's contract: gray, purple, red, yellow, green, in this order. */
export const statusOf = ({ status, tags }: Told): Status => {
  if (!tags.connection) return "disconnected";
  if (tags.error_tag === 1) return "error";
  return STATUSES.includes(status as Status) ? (status as Status) : "disconnected";
};

/** One silhouette each: they are told apart without their colours. */
const SHAPES: Record<Status | "unknown", string> = {
  running: "M6 3.5v17L21 12z",
  idle: "M5 4h5v16H5zM14 4h5v16h-5z",
  stopped: "M4 4h16v16H4z",
  error: "M12 1.5 23.5 22H.5zM10.7 9l.4 6.5h1.8l.4-6.5zM12 16.8a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3z",
  disconnected: "M5.6 2.8 12 9.2l6.4-6.4 2.8 2.8-6.4 6.4 6.4 6.4-2.8 2.8-6.4-6.4-6.4 6.4-2.8-2.8L9.2 12 2.8 5.6z",
  unknown: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm0 3.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z",
};

export const Shape = ({ status }: { status: Status | "unknown" }) => (
  <svg className="monitor-shape" viewBox="0 0 24 24" aria-hidden="true" fill="currentColor" fillRule="evenodd">
    <path d={SHAPES[status]} />
  </svg>
);

/** Shape and word, in the status' colour. */
export const StatusBadge = ({ status, t }: { status: Status | "unknown"; t: MonitorWords }) => (
  <span className="monitor-status" data-status={status}>
    <Shape status={status} />
    {t[status]}
  </span>
);
