import { Manager, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";
import type { AnswerOptions, Asked } from "./answers.js";
import { AtriumError, isPassing } from "./errors.js";
import { lazy } from "./lazy.js";
import { delayBefore, type Policy, type PolicyName, policies } from "./policies.js";
import { tell } from "./store.js";
import type { Answered, AskName, CallName, Heard, HeardName, Payload, Reply, Request } from "./types.js";

/**
 * `reconnecting`: it will be tried again by itself. `failed`: not so; `error` says why. `fallback`: as failed, but a
 * session goes on over HTTP, and the socket is tried now and then. `closed`: by `close()`.
 */
export type ConnectionState = "connecting" | "connected" | "reconnecting" | "failed" | "fallback" | "closed";

/** One for all time, or what is asked for one. */
export type TokenSource = string | ((reason: TokenReason) => Awaitable<string | null | undefined>);
type Awaitable<T> = T | Promise<T>;

/** Why a token is wanted: for a connect, because the one in use expires soon, or because the server refused it. */
export type TokenReason = "connect" | "expiring" | "refused";

export interface ConnectOptions<N extends string = string> {
  /** Default: the page's origin. */
  url?: string | undefined;
  /** Default: `/`. */
  namespace?: N | undefined;
  /** A function is asked before every connect, and when the server says that the token expires soon. */
  token?: TokenSource | undefined;
  policy?: PolicyName | Policy | undefined;
  /** Milliseconds between quiet tries after it failed; 0 for none. Default: 0, under HTTP fallback 30,000. */
  probe?: number | undefined;
  /** Whether the server keeps what is missed in a drop (`RECOVERY_SECONDS`). Default: true. */
  recovery?: boolean | undefined;
  /** Of socket.io-client, beside those above. Default: WebSocket, and long polling where there is none. */
  socket?: Partial<ManagerOptions & SocketOptions> | undefined;
}

export interface CallOptions {
  /** Milliseconds for connecting, where it is not, and the answer. Default: 15,000. */
  timeout?: number | undefined;
}

const CALL_MS = 15_000;
const CONNECT_MS = 20_000;
const PROBE_MS = 30_000;
const FALLBACK_AFTER = 5; // tries, as the bank's client
const MOST_WAITING = 1000;
const LONGEST_DRAIN_MS = 60_000;

/** Connects to one namespace of a server, and again after every drop. */
export function connect<const N extends string = "/">(options: ConnectOptions<N>): Connection<N> {
  return new Connection(options);
}

export class Connection<N extends string = string> {
  readonly url: string;
  readonly namespace: N;
  /** Stays over drops that were recovered from. */
  id: string | undefined;
  userId: string | undefined;
  /** Why it is not connected. */
  error: AtriumError | undefined;
  /** The stock client, for what there is no other way to. */
  readonly socket: Socket;

  #state: ConnectionState = "connecting";
  #options: ConnectOptions<N>;
  #policy: Policy;
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #opening: object | undefined;
  #token: string | null = null;
  /** For the newest connect: who wants one meanwhile gets the same. */
  #asking!: Promise<string | null>;
  #refused: { token: string | null } | undefined;
  #told: AtriumError | undefined;
  #drainedAt: number | undefined;
  #fallbacks = 0;
  #listeners = new Set<(state: ConnectionState) => void>();
  #waiting = new Set<() => void>();
  /** Few are asked anything. */
  #answers = lazy(async () => {
    const { Answers } = await import("./answers.js");
    return new Answers(this.socket);
  });

  constructor(options: ConnectOptions<N>) {
    this.#options = options;
    this.url = (options.url ?? location.origin).replace(/\/$/, "");
    this.namespace = options.namespace ?? ("/" as N);
    const policy = options.policy ?? "default";
    this.#policy = typeof policy === "string" ? policies[policy] : policy;
    const manager = new Manager(this.url, {
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      ...options.socket,
      autoConnect: false,
      reconnection: false, // when to try again is decided here
    });
    this.socket = manager.socket(this.namespace);
    this.socket
      .on("connect", () => this.#connected())
      .on("connect_error", (error) => this.#refusedBy(error))
      .on("disconnect", (reason, details: any) => {
        const fault = details?.context?.code ?? details?.description; // by WebSocket, by polling
        // Of what is far above its limit the server reads nothing, and does not name the fault.
        if (fault === 1009 || fault === 413) this.#told ??= new AtriumError("MESSAGE_TOO_BIG");
        this.#dropped(reason);
      })
      .on("connected", (greeting) => {
        this.userId = greeting?.user_id;
      })
      .on("disconnecting_reason", (reason) => {
        this.#told = AtriumError.from(reason);
      })
      .on("server_draining", (notice) => {
        this.#drainedAt = Date.now() + Math.min(Number(notice?.reconnect_after_ms) || 0, LONGEST_DRAIN_MS);
      })
      .on("token_expiring", (notice) => void this.#renew(Number(notice?.expires_in) || 1));
    globalThis.addEventListener?.("online", this.#online);
    void this.#open("connect");
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /**
   * The newest connection goes on where the one before ended: same rooms, nothing missed but what is volatile. It holds
   * already when what was missed is told, which is before `state` is `connected`.
   */
  get recovered(): boolean {
    return !!this.socket.recovered;
  }

  /** The result stops it. */
  readonly onState = (listener: (state: ConnectionState) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The result stops it. Events are told in the order in which the server sent them. */
  on<E extends HeardName<N>>(event: E, handler: (payload: Heard<N, E>) => void): () => void {
    const listener = (payload: Heard<N, E>) => handler(payload); // with recovery there is an offset behind it
    this.socket.on<string>(event, listener);
    return () => this.socket.off<string>(event, listener);
  }

  /**
   * The ack without its `ok`. Waits for the connection where there is none. Rejects with AtriumError; after
   * CONNECTION_LOST and TIMEOUT nobody knows whether it was done.
   */
  async call<E extends CallName<N>>(
    event: E,
    // biome-ignore lint/complexity/noBannedTypes: whether all of it may be left out
    ...[payload, { timeout = CALL_MS } = {}]: {} extends Payload<N, E>
      ? [payload?: Payload<N, E>, options?: CallOptions]
      : [payload: Payload<N, E>, options?: CallOptions]
  ): Promise<Answered<N, E>> {
    const until = Date.now() + timeout;
    if (!this.socket.connected) await this.#ready(timeout);
    let ack: any;
    try {
      ack = await this.socket.timeout(Math.max(1, until - Date.now())).emitWithAck(event, payload ?? {});
    } catch (error) {
      throw /disconnected/.test(String(error))
        ? this.#tooBig() || new AtriumError("CONNECTION_LOST")
        : new AtriumError("TIMEOUT");
    }
    if (ack?.ok !== true) throw AtriumError.from(ack?.error);
    const { ok: _, ...rest } = ack;
    return rest;
  }

  /** Without an answer, and only while it is connected. */
  tell<E extends CallName<N>>(event: E, payload: Payload<N, E>): void {
    if (this.socket.connected) this.socket.volatile.emit(event, payload);
  }

  /**
   * Answers what the server asks: the handler's result, or what it resolves to, is the ack. A question that is put again
   * after a drop is not handled again. The result stops it.
   */
  answer<E extends AskName<N>>(
    event: E,
    handler: (request: Request<N, E>, asked: Asked) => Reply<N, E> | Promise<Reply<N, E>>,
    options?: AnswerOptions<Request<N, E>>,
  ): () => void {
    const listener = (request: Request<N, E>, ack: (answer: unknown) => void) => {
      const put = { request, ack, engine: this.socket.io.engine };
      this.#answers().then(
        (answers) => answers.take(put, handler, options?.late),
        (error) => options?.late?.(request, error),
      );
    };
    this.#answers().catch(() => {}); // while there is a network to load it from
    this.socket.on<string>(event, listener);
    return () => this.socket.off<string>(event, listener);
  }

  /** Tries again at once, with all of the policy's attempts. */
  retry(): void {
    if (this.#state === "connected" || this.#state === "closed" || this.#opening) return;
    this.#attempt = 0;
    this.#refused = undefined;
    this.#become("reconnecting");
    void this.#open("connect");
  }

  /** For good. */
  close(): void {
    if (this.#state === "closed") return;
    globalThis.removeEventListener?.("online", this.#online);
    this.#stop();
    this.error = new AtriumError("CLOSED");
    this.#become("closed");
    this.socket.disconnect();
    this.#flush();
  }

  /** The one in use, for HTTP beside the socket; a `fresh` one where that was refused. Rejects with AtriumError. */
  async token(fresh = false): Promise<string | null> {
    if (fresh) this.#token = await this.#ask("refused");
    else this.#token ??= await this.#asking;
    return this.#token;
  }

  /** Somebody goes on by HTTP when the connection failed. The result stops that. */
  allowFallback(): () => void {
    this.#fallbacks++;
    if (this.#state === "failed" && isPassing(this.error)) this.#exhausted();
    return () => {
      if (!--this.#fallbacks && this.#state === "fallback") this.#exhausted();
    };
  }

  // -- connecting ---------------------------------------------------------------------------------------------------

  async #open(reason: TokenReason): Promise<void> {
    this.#stop();
    const opening = {};
    this.#opening = opening;
    let token: string | null;
    try {
      this.#asking = this.#ask(reason);
      token = await this.#asking;
    } catch (error) {
      if (this.#opening === opening) this.#again(error as AtriumError);
      return;
    }
    if (this.#opening !== opening) return;
    if (this.#refused?.token === token && reason === "refused") {
      this.#fail(this.error);
      return;
    }
    this.#token = token;
    this.socket.auth = { ...(token && { token }), ...(this.#options.recovery !== false && { recovery: true }) };
    this.#timer = setTimeout(() => {
      this.socket.disconnect();
      this.#again(new AtriumError("UNREACHABLE"));
    }, CONNECT_MS);
    this.socket.connect();
  }

  #connected(): void {
    this.#stop();
    this.#attempt = 0;
    this.#refused = this.#told = this.#drainedAt = this.error = undefined;
    this.id = this.socket.id;
    this.#become("connected");
    this.#flush();
  }

  #refusedBy(cause: Error & { data?: any }): void {
    const error =
      "data" in cause
        ? AtriumError.from(cause.data ?? cause)
        : new AtriumError("UNREACHABLE", (cause as Error).message, { cause });
    if (isPassing(error)) this.#again(error);
    else this.#turnedAway(error);
  }

  #dropped(reason: string): void {
    if (reason === "io client disconnect") return;
    const told = this.#told;
    if (told ? !told.reconnect && !this.#tooBig() : reason === "io server disconnect") {
      this.#turnedAway(told ?? new AtriumError("DISCONNECTED"));
      return;
    }
    this.error = told ?? new AtriumError("CONNECTION_LOST", reason);
    if (this.#drainedAt === undefined) {
      this.#again(this.error);
    } else {
      this.#become("reconnecting");
      this.#later(this.#drainedAt - Date.now());
    }
  }

  /** Not to be said again; all else may go on. */
  #tooBig(): AtriumError | undefined {
    return this.#told?.code === "MESSAGE_TOO_BIG" ? this.#told : undefined;
  }

  /** A fresh token may help, once. */
  #turnedAway(error: AtriumError): void {
    this.error = error;
    if (this.#options.token && error.code.startsWith("TOKEN_") && !this.#refused) {
      this.#refused = { token: this.#token };
      this.#become("reconnecting");
      void this.#open("refused");
    } else {
      this.#fail(error);
    }
  }

  #again(error: AtriumError): void {
    this.error = error;
    this.#refused = undefined;
    const delay = delayBefore(this.#attempt, this.#policy);
    if (delay === undefined) {
      this.#exhausted();
      return;
    }
    this.#become(this.#attempt++ >= FALLBACK_AFTER && this.#fallbacks ? "fallback" : "reconnecting");
    this.#later(Math.max(delay, error.retryAfter ?? 0));
  }

  #exhausted(): void {
    this.#stop();
    const probe = this.#options.probe ?? (this.#fallbacks ? PROBE_MS : 0);
    this.#become(this.#fallbacks ? "fallback" : "failed");
    if (probe) this.#later(probe);
    else this.#flush();
  }

  #fail(error: AtriumError | undefined): void {
    this.#stop();
    this.error = error;
    this.#become("failed");
    this.#flush();
  }

  #later(ms: number): void {
    this.#stop();
    this.#timer = setTimeout(() => void this.#open("connect"), Math.max(0, ms));
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#opening = this.#timer = undefined;
  }

  #online = (): void => {
    if (this.#timer && !this.#opening) void this.#open("connect");
    else if (this.#state === "failed" && isPassing(this.error)) this.retry();
  };

  #become(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    tell(this.#listeners, state);
  }

  // -- tokens -------------------------------------------------------------------------------------------------------

  async #ask(reason: TokenReason): Promise<string | null> {
    try {
      return (await tokenFrom(this.#options.token, reason)) ?? null;
    } catch (cause) {
      throw new AtriumError("TOKEN_UNAVAILABLE", String(cause), { cause });
    }
  }

  /** Where it cannot be renewed the server ends the connection, and the next connect asks for a token again. */
  async #renew(seconds: number): Promise<void> {
    const { id } = this.socket;
    try {
      const token = await this.#ask("expiring");
      if (!token || token === this.#token) return;
      const { unsubscribed = [] } = await (this as unknown as Connection<"/trading">).call("authenticate", { token });
      this.#token = token;
      for (const listener of this.socket.listeners("unsubscribed")) {
        for (const channel of unsubscribed) listener({ channel });
      }
    } catch {
      const again = () => seconds > 1 && this.socket.id === id && void this.#renew(seconds / 2);
      setTimeout(again, seconds * 500);
    }
  }

  // -- calls --------------------------------------------------------------------------------------------------------

  #ready(timeout: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#waiting.delete(settle);
        if (this.socket.connected) return resolve();
        const cause = this.error;
        const ended = this.#state === "failed" || this.#state === "closed";
        reject((ended && cause) || new AtriumError("NOT_CONNECTED", undefined, { cause }));
      };
      const timer = setTimeout(settle, timeout);
      if (this.#state !== "connecting" && this.#state !== "reconnecting") settle();
      else if (this.#waiting.size < MOST_WAITING) this.#waiting.add(settle);
      else reject(new AtriumError("LIMIT_EXCEEDED"));
    });
  }

  #flush(): void {
    for (const settle of [...this.#waiting]) settle();
  }
}

export function tokenFrom(source: TokenSource | undefined, reason: TokenReason): Awaitable<string | null | undefined> {
  return typeof source === "function" ? source(reason) : source;
}
