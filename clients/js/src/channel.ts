import type { Connection, ConnectionState } from "./connection.js";
import { type AtriumError, isPassing } from "./errors.js";
import { Sequence } from "./sequence.js";
import { Store, tell } from "./store.js";
import type { ChannelMessage } from "./types.js";

export interface ChannelOptions {
  /** Messages kept in the snapshot. Default: 200. */
  history?: number | undefined;
}

export interface ChannelSnapshot<Data = any> {
  /** `ended`: the server does not allow it any more. */
  status: "subscribing" | "subscribed" | "ended" | "failed";
  error: AtriumError | undefined;
  /** Of the newest message; not of a pattern such as `ticks:*`. */
  seq: number | undefined;
  epoch: string | undefined;
  /** The newest, oldest first. */
  messages: readonly ChannelMessage<Data>[];
  /** The newest of each channel: of a pattern there are many. */
  newest: ReadonlyMap<string, ChannelMessage<Data>>;
  /** Messages heard since it was opened. */
  received: number;
  /** Messages that newer ones stood for: nothing to worry about. */
  conflated: number;
  /** Messages that were missed, and could not be had any more. */
  missed: number;
  /** Whether the newest subscription brought all that was missed since the one before. */
  recovered: boolean | undefined;
}

/** `replayed`: it was said before this subscription. */
export type ChannelListener<Data = any> = (message: ChannelMessage<Data>, replayed: boolean) => void;

const HISTORY = 200;
const MOST_CHANNELS = 10_000; // of a pattern
const MOST_EARLY = 5000;
const GAP_MS = 300;
const RETRY_MS = 1000;

/** Subscribes to a channel of `/trading`, or a class such as `ticks:*`, and again after every drop. */
export function openChannel<Data = any>(
  connection: Connection<"/trading">,
  channel: string,
  options: ChannelOptions = {},
): Channel<Data> {
  return new Channel(connection, channel, options);
}

export class Channel<Data = any> extends Store<ChannelSnapshot<Data>> {
  #status: ChannelSnapshot["status"] = "subscribing";
  #error: AtriumError | undefined;
  #epoch: string | undefined;
  #messages: ChannelMessage<Data>[] = [];
  #newest = new Map<string, ChannelMessage<Data>>();
  #most: number;
  #received = 0;
  #conflated = 0;
  #missed = 0;
  #recovered: boolean | undefined;
  /** Numbers up to here were told in the newest ack. */
  #base = 0;
  /** Its class conflates: there are gaps, and what is of several values is not in order. */
  #conflates: boolean;
  #sequence = this.#numbered();
  #early: ChannelMessage<Data>[] | undefined = [];
  #subscribing: object | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #listeners = new Set<ChannelListener<Data>>();
  #stops: (() => void)[];

  constructor(
    readonly connection: Connection<"/trading">,
    readonly channel: string,
    options: ChannelOptions,
  ) {
    super();
    this.#most = options.history ?? HISTORY;
    this.#conflates = channel.endsWith("*");
    this.#stops = [
      listen(connection, channel, this.#hear),
      connection.onState(this.#follow),
      connection.on("unsubscribed", (notice) => {
        if (notice?.channel !== channel) return;
        this.#status = "ended";
        this.changed();
      }),
    ];
    this.#follow(connection.state);
  }

  /** Every message once; in order, but of a channel that conflates several values. The result stops it. */
  onMessage(listener: ChannelListener<Data>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Where its class allows that. The same `idempotency_key` again is not published again. */
  publish(data: Data, more: { type?: string; idempotency_key?: string } = {}): Promise<{ seq: number; epoch: string }> {
    return this.connection.call("publish", { channel: this.channel, data, ...more });
  }

  /** Says it as `chat_message`, on channels such as `general`. */
  chat(message: string): Promise<{ seq: number; epoch: string }> {
    return this.connection.call("chat_message", { channel: this.channel, message });
  }

  /** Unsubscribes. */
  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
    clearTimeout(this.#timer);
    this.#subscribing = undefined;
    if (this.connection.state === "connected" && !listened(this.connection, this.channel)) {
      this.connection.call("unsubscribe", { channel: this.channel }).catch(() => {});
    }
  }

  protected override build(): ChannelSnapshot<Data> {
    return {
      status: this.#status,
      error: this.#error,
      seq: this.#sequence.last,
      epoch: this.#epoch,
      messages: this.#messages.slice(-this.#most),
      newest: new Map(this.#newest),
      received: this.#received,
      conflated: this.#conflated,
      missed: this.#missed,
      recovered: this.#recovered,
    };
  }

  // -- the connection -----------------------------------------------------------------------------------------------

  #follow = (state: ConnectionState): void => {
    if (state !== "connected") {
      this.#subscribing = undefined;
      clearTimeout(this.#timer);
      this.#timer = undefined;
      if (state === "failed" && !isPassing(this.connection.error)) {
        this.#status = "failed";
        this.#error = this.connection.error;
      }
    } else if (!this.connection.recovered || this.#status === "subscribing" || this.#conflates) {
      void this.#subscribe(); // what conflates is not kept for those who come back
    }
    this.changed();
  };

  async #subscribe(): Promise<void> {
    const subscribing = {};
    this.#subscribing = subscribing;
    this.#early ??= [];
    const seq = this.#sequence.last;
    const since = this.#epoch !== undefined && seq !== undefined ? { epoch: this.#epoch, seq } : undefined;
    try {
      const ack = await this.connection.call("subscribe", { channel: this.channel, ...(since && { since }) });
      if (this.#subscribing === subscribing) this.#subscribed(ack);
    } catch (cause) {
      const error = cause as AtriumError;
      if (this.#subscribing !== subscribing) return;
      this.#subscribing = undefined;
      if (!isPassing(error)) {
        this.#status = "failed";
        this.#error = error;
      } else if (this.connection.state === "connected") {
        this.#timer = setTimeout(() => void this.#subscribe(), error.retryAfter ?? RETRY_MS);
      }
    }
    this.changed();
  }

  #subscribed(ack: any): void {
    this.#subscribing = undefined;
    this.#status = "subscribed";
    this.#error = undefined;
    this.#recovered = ack.recovered;
    const told: ChannelMessage<Data>[] = ack.messages ?? ack.snapshot ?? [];
    const early = this.#early ?? [];
    this.#early = undefined;
    const before = this.#epoch === ack.epoch ? this.#sequence.last : undefined;
    if (this.#epoch !== undefined && before === undefined) this.#messages = []; // numbered anew
    this.#epoch = ack.epoch ?? undefined;
    this.#sequence = this.#numbered();
    const isNew = (message: ChannelMessage<Data>) => before === undefined || message.seq > before;
    for (const message of told) {
      if (this.#conflates ? this.#isNews(message) : isNew(message)) this.#keep(message, true);
    }
    const first = told[0]?.seq ?? (ack.seq ?? 0) + 1;
    if (!this.#conflates && before !== undefined && first > before + 1) this.#missed += first - before - 1;
    if (ack.seq !== null && ack.seq !== undefined) {
      this.#base = ack.seq;
      this.#sequence.begin(ack.seq);
    }
    for (const message of early) this.#hear(message);
  }

  // -- messages -----------------------------------------------------------------------------------------------------

  #hear = (message: ChannelMessage<Data>): void => {
    if (this.#early) {
      if (this.#early.push(message) > MOST_EARLY) this.#early.shift(); // the gap will show
      return;
    }
    if (message.conflated) {
      this.#conflates = true;
      this.#conflated += message.conflated;
    }
    if (this.#conflates) {
      if (message.channel === this.channel && message.seq <= this.#base) return;
      this.#sequence.last = Math.max(this.#sequence.last ?? 0, message.seq);
      this.#keep(message, false);
    } else if (!this.#sequence.take(message)) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        if (this.#sequence.held.size && !this.#subscribing && this.connection.state === "connected")
          void this.#refill();
      }, GAP_MS);
    }
  };

  /** What is held is among what is told since, or follows it. */
  async #refill(): Promise<void> {
    this.#early = [...this.#sequence.held.values()].sort((one, other) => one.seq - other.seq);
    this.#sequence.held.clear();
    await this.#subscribe();
  }

  #numbered(): Sequence<ChannelMessage<Data>> {
    return new Sequence((message) => this.#keep(message, false));
  }

  #isNews({ channel, seq }: ChannelMessage<Data>): boolean {
    const known = this.#newest.get(channel);
    return known === undefined || known.seq < seq || this.#epoch === undefined;
  }

  #keep(message: ChannelMessage<Data>, replayed: boolean): void {
    this.#received++;
    this.#messages.push(message);
    if (this.#messages.length >= 2 * this.#most) this.#messages.splice(0, this.#messages.length - this.#most);
    if (this.#newest.size < MOST_CHANNELS || this.#newest.has(message.channel)) {
      this.#newest.set(message.channel, message);
    }
    this.changed();
    tell(this.#listeners, message, replayed);
  }
}

// -- one listener for all channels of a connection --------------------------------------------------------------------

type Hear = (message: ChannelMessage) => void;

interface Channels {
  byName: Map<string, Set<Hear>>;
  stop: () => void;
}

const heard = new WeakMap<Connection<"/trading">, Channels>();

function listen(connection: Connection<"/trading">, channel: string, hear: Hear): () => void {
  let channels = heard.get(connection);
  if (!channels) {
    const byName = new Map<string, Set<Hear>>();
    const listener = (type: string, payload: any) => {
      const name = payload?.channel;
      if (typeof name !== "string" || typeof payload.seq !== "number") return;
      const message = { type, ...payload };
      for (const each of byName.get(name) ?? []) each(message);
      const colon = name.indexOf(":");
      for (const each of (colon > 0 && byName.get(`${name.slice(0, colon + 1)}*`)) || []) each(message);
    };
    connection.socket.onAny(listener);
    const stop = () => connection.socket.offAny(listener);
    channels = { byName, stop };
    heard.set(connection, channels);
  }
  const { byName, stop } = channels;
  const of = byName.get(channel) ?? new Set();
  byName.set(channel, of.add(hear));
  return () => {
    of.delete(hear);
    if (!of.size) byName.delete(channel);
    if (byName.size) return;
    stop();
    heard.delete(connection);
  };
}

function listened(connection: Connection<"/trading">, channel: string): boolean {
  return heard.get(connection)?.byName.has(channel) ?? false;
}
