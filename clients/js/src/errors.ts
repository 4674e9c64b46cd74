/** What the server, or the way to it, says is wrong. `code` is stable: the server's own, or one of `ClientCode`. */
export class AtriumError extends Error {
  override readonly name = "AtriumError";
  readonly code: string;
  /** Milliseconds after which the same may be tried again. */
  readonly retryAfter?: number | undefined;
  /** What is wrong, by field. */
  readonly details?: Record<string, unknown> | undefined;
  /** Of the connection that this ended, or refused. */
  readonly closeCode?: number | undefined;
  /** Whether the server that ended a connection wants its client back. */
  readonly reconnect?: boolean | undefined;

  constructor(code: string, message = code.toLowerCase().replaceAll("_", " "), more: ErrorMore = {}) {
    super(message);
    this.code = code;
    Object.assign(this, more);
  }

  /** Of an `error` object as acks, events, refused connects and HTTP carry it. */
  static from(wire: unknown, code = "REFUSED"): AtriumError {
    const { code: named, message, retry_after, close_code, details, reconnect } = (wire ?? {}) as Partial<WireError>;
    const wait = Number(retry_after);
    return new AtriumError(typeof named === "string" ? named : code, message, {
      retryAfter: wait > 0 ? Math.min(wait, MOST_MS) : undefined,
      closeCode: close_code,
      details,
      reconnect,
    });
  }
}

const MOST_MS = 2 ** 31 - 1; // a timer that is longer goes off at once

interface ErrorMore {
  retryAfter?: number | undefined;
  details?: Record<string, unknown> | undefined;
  closeCode?: number | undefined;
  reconnect?: boolean | undefined;
  cause?: unknown;
}

interface WireError {
  code: string;
  message: string;
  retry_after: number;
  close_code: number;
  details: Record<string, unknown>;
  reconnect: boolean;
}

/**
 * Codes that no server sends. NOT_CONNECTED: nothing was sent. CONNECTION_LOST, TIMEOUT: it may have arrived.
 * UNREACHABLE: no server answers there. TOKEN_UNAVAILABLE: the `token` function failed. CLOSED: by `close()`.
 */
export type ClientCode =
  | "NOT_CONNECTED"
  | "CONNECTION_LOST"
  | "TIMEOUT"
  | "UNREACHABLE"
  | "TOKEN_UNAVAILABLE"
  | "REFUSED"
  | "CLOSED"
  | "LIMIT_EXCEEDED";

/** Whether the same may well succeed a little later; all else is refused for good. */
export function isPassing(error: unknown): boolean {
  return error instanceof AtriumError && PASSING.test(error.code);
}

const PASSING =
  /^(NOT_CONNECTED|CONNECTION_LOST|TIMEOUT|UNREACHABLE|TOKEN_UNAVAILABLE|RATE_LIMITED|SERVER_FULL|GOING_AWAY|HEARTBEAT_LOST|INTERNAL)$/;
