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
  /** Of each channel, as the newest subscription was told: one that has another now lost its count. */
  epochs: ReadonlyMap<string, string>;
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

/** Where one channel stands. */
interface Place {
  /** Undefined where no ack has told it yet: of a pattern, one that is new. */
  epoch: string | undefined;
  /** Numbers up to here were told in the newest ack. */
  base: number;
  /** The highest that was handed on. */
  last: number;
  /** How many were let go before the ack, and the highest of them. */
  lost: number;
  lostTo: number;
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
  #epochs: ReadonlyMap<string, string> = new Map();
  /** Of one channel one, of a pattern many. */
  #places = new Map<string, Place>();
  #messages: ChannelMessage<Data>[] = [];
  #newest = new Map<string, ChannelMessage<Data>>();
  #most: number;
  #received = 0;
  #conflated = 0;
  #missed = 0;
  #recovered: boolean | undefined;
  /** Its class conflates: there are gaps, and what is of several values is not in order. */
  #conflates: boolean;
  /** The server keeps its messages for those who come back; false where that is not known. */
  #kept = false;
  #sequence = this.#numbered();
  /** What came before the ack; undefined after it. */
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
      seq: this.#places.get(this.channel)?.last,
      epoch: this.#epochs.get(this.channel),
      epochs: this.#epochs,
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
    } else {
      if (!this.connection.recovered) this.#early = []; // of what may have been another count
      if (this.#early || !this.#kept || this.#sequence.held.size) void this.#subscribe();
    }
    this.changed();
  };

  async #subscribe(): Promise<void> {
    const subscribing = {};
    this.#subscribing = subscribing;
    this.#early ??= [...this.#sequence.held.values()]; // among what is told, or behind it
    const place = this.#places.get(this.channel);
    const since = place?.epoch !== undefined ? { epoch: place.epoch, seq: place.last } : undefined;
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
    const { held } = this.#sequence;
    // What was held before it asked, and is above what there is, nobody said.
    const early = (this.#early ?? []).filter((each) => each.seq <= ack.seq || held.get(each.seq) !== each);
    this.#early = undefined;
    const goesOn = this.#goOn(ack.channels ?? { [this.channel]: ack }, told);
    const replayed = new Set(told);
    const known = early.filter(({ channel, seq }) => seq <= (this.#places.get(channel)?.base ?? 0));
    const counts = goesOn && !this.#conflates;
    for (const message of [...told, ...known].sort(bySeq)) {
      const { last } = this.#place(message.channel);
      if (message.seq <= last) continue;
      if (counts) this.#missed += message.seq - last - 1;
      this.#keep(message, replayed.has(message));
    }
    for (const place of this.#places.values()) {
      if (counts) this.#missed += Math.max(0, place.base - place.last);
      place.last = Math.max(place.last, place.base);
    }
    this.#sequence = this.#numbered();
    this.#sequence.begin(ack.seq ?? 0);
    for (const message of early) this.#hear(message, false);
  }

  /** Where each channel stands now. Whether the one that this is, where it is no pattern, goes on in the same count. */
  #goOn(channels: Record<string, { seq: number; epoch: string }>, told: readonly ChannelMessage<Data>[]): boolean {
    const before = this.#places;
    const newest = new Map(told.map((message) => [message.channel, message]));
    const anew = new Set<string>();
    let goesOn = false;
    this.#places = new Map();
    for (const [name, { seq, epoch }] of Object.entries(channels)) {
      const known = before.get(name);
      if (known?.epoch && known.epoch !== epoch) anew.add(name);
      // Without an epoch only what is told again shows that it is the same count.
      const isSame = known?.epoch ? known.epoch === epoch : isOne(newest.get(name), this.#newest.get(name));
      if (name === this.channel) goesOn = isSame;
      this.#places.set(name, {
        epoch,
        base: seq,
        last: isSame ? Math.min(known?.last ?? 0, seq) : 0,
        lost: 0,
        lostTo: 0,
      });
    }
    this.#epochs = new Map(Object.entries(channels).map(([name, { epoch }]) => [name, epoch]));
    if (anew.size) this.#messages = this.#messages.filter(({ channel }) => !anew.has(channel));
    // Where nothing is conflated the gap shows.
    for (const [name, { lost, lostTo }] of this.#conflates ? before : []) {
      this.#missed += Math.min(lost, Math.max(0, lostTo - (channels[name]?.seq ?? 0)));
    }
    return goesOn;
  }

  // -- messages -----------------------------------------------------------------------------------------------------

  #hear = (message: ChannelMessage<Data>, isKept: boolean): void => {
    this.#kept ||= isKept;
    this.#conflates ||= !!message.conflated;
    if (this.#early) {
      const least = this.#early.push(message) > MOST_EARLY && this.#early.shift();
      if (least) {
        const place = this.#place(least.channel);
        place.lost++;
        place.lostTo = least.seq;
      }
      return;
    }
    this.#conflated += message.conflated ?? 0;
    if (this.#conflates) {
      if (message.seq <= this.#place(message.channel).base) return;
      for (const held of this.#sequence.held.values()) this.#keep(held, false); // for a gap that was none
      this.#sequence.held.clear();
      this.#keep(message, false);
    } else if (!this.#sequence.take(message)) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        if (this.#sequence.held.size && !this.#subscribing && this.connection.state === "connected")
          void this.#subscribe();
      }, GAP_MS);
    }
  };

  #numbered(): Sequence<ChannelMessage<Data>> {
    return new Sequence((message) => this.#keep(message, false));
  }

  #place(channel: string): Place {
    let place = this.#places.get(channel);
    if (!place) {
      place = { epoch: undefined, base: 0, last: 0, lost: 0, lostTo: 0 };
      if (this.#places.size < MOST_CHANNELS) this.#places.set(channel, place);
    }
    return place;
  }

  #keep(message: ChannelMessage<Data>, replayed: boolean): void {
    this.#received++;
    this.#messages.push(message);
    if (this.#messages.length >= 2 * this.#most) this.#messages.splice(0, this.#messages.length - this.#most);
    const place = this.#place(message.channel);
    const isNewest = message.seq >= place.last; // not so of several values
    if (isNewest) place.last = message.seq;
    if (isNewest && (this.#newest.size < MOST_CHANNELS || this.#newest.has(message.channel))) {
      this.#newest.set(message.channel, message);
    }
    this.changed();
    tell(this.#listeners, message, replayed);
  }
}

// -- one listener for all channels of a connection --------------------------------------------------------------------

type Hear = (message: ChannelMessage, isKept: boolean) => void;

interface Channels {
  byName: Map<string, Set<Hear>>;
  stop: () => void;
}

const heard = new WeakMap<Connection<"/trading">, Channels>();

function listen(connection: Connection<"/trading">, channel: string, hear: Hear): () => void {
  let channels = heard.get(connection);
  if (!channels) {
    const byName = new Map<string, Set<Hear>>();
    const listener = (type: string, payload: any, offset: unknown) => {
      const name = payload?.channel;
      if (typeof name !== "string" || typeof payload.seq !== "number") return;
      const message = { type, ...payload };
      const isKept = typeof offset === "string"; // what is volatile is not brought after a drop, and has none
      for (const each of byName.get(name) ?? []) each(message, isKept);
      const colon = name.indexOf(":");
      for (const each of (colon > 0 && byName.get(`${name.slice(0, colon + 1)}*`)) || []) each(message, isKept);
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

function bySeq(one: ChannelMessage, other: ChannelMessage): number {
  return one.seq - other.seq;
}

function isOne(one: ChannelMessage | undefined, other: ChannelMessage | undefined): boolean {
  return one !== undefined && one.seq === other?.seq && one.timestamp === other.timestamp;
}
