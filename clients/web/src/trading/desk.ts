/** The page's one connection, what it subscribes to, and where each message goes. What is drawn of it is not here. */
import { type Channel, type ChannelMessage, type Connection, connect, openChannel } from "atrium-client";
import { freshToken } from "../shell/identity";
import { Frames } from "./frames";
import { Market, type Quote } from "./market";
import { ServerClock } from "./server-clock";
import { type Kind, Stream } from "./stream";
import { Rate, Tally } from "./tally";
import { ALL_TICKS, readTick, TICKS } from "./ticks";

export type Painter = (quote: Quote, at: number) => void;

const PAINT_EVERY_MS = 80; // of one symbol: nobody reads more, and on a slow machine each costs a tenth of a frame
const MEASURE_MS = 60_000;
const HELD_TICKS = 2000; // that come before the ack of a subscription
const MOST_TALLIES = 1000;
const MOST_GROUPS = 10;

export class Desk {
  readonly connection: Connection<"/trading">;
  readonly market = new Market();
  readonly stream = new Stream();
  readonly frames = new Frames();
  readonly clock = new ServerClock();
  readonly rate = new Rate();
  /** By channel. */
  readonly tallies = new Map<string, Tally>();
  readonly #subscriptions = new Map<string, { channel: Channel; stop: () => void }>();
  readonly #listeners = new Set<() => void>();
  readonly #painters = new Map<string, Set<Painter>>();
  /** Symbols that changed since they were painted, and when that was. */
  readonly #due = new Set<string>();
  readonly #paintedAt = new Map<string, number>();
  readonly #timer: ReturnType<typeof setInterval>;
  #channels: readonly Channel[] = [];
  /** The server's time when the newest connection began; before the first, nothing is old. */
  #since = Number.NEGATIVE_INFINITY;

  constructor(userId: string, roles: readonly string[]) {
    this.connection = connect({ namespace: "/trading", token: freshToken });
    this.connection.on("connected", ({ server_time }) => {
      const at = Date.parse(server_time);
      this.clock.greeted(at);
      this.#measure();
    });
    let connections = 0;
    this.connection.onState((state) => {
      if (state === "connected" && ++connections > 1) this.#since = this.clock.now() ?? this.#since;
      this.frames.wake();
    });
    this.frames.add((at) => {
      for (const symbol of this.market.changes()) this.#due.add(symbol);
      for (const symbol of this.#due) {
        if (at - (this.#paintedAt.get(symbol) ?? 0) < PAINT_EVERY_MS) continue;
        this.#paintedAt.set(symbol, at);
        this.#due.delete(symbol);
        this.#paint(symbol, at);
      }
      this.stream.flush(at);
    });
    this.#timer = setInterval(() => this.#measure(), MEASURE_MS);
    const groups = roles.filter((role) => role.startsWith("group:")).slice(0, MOST_GROUPS);
    for (const [name, kind] of [
      ["alerts", "alert"],
      [`user:${userId}`, "order"],
      ["general", "chat"],
      ...groups.map((group) => [group, "order"] as const),
    ] as const) {
      this.#open(name, (message, replayed) => this.stream.add(kind as Kind, message, replayed));
    }
  }

  /** Of these symbols, or of all, from now on. */
  watch(all: boolean, symbols: readonly string[]): void {
    const wanted = new Set(all ? [ALL_TICKS] : symbols.map((symbol) => TICKS + symbol));
    for (const name of this.#subscriptions.keys()) {
      if (name.startsWith(TICKS) && !wanted.has(name)) this.#close(name);
    }
    for (const name of wanted) {
      if (!this.#subscriptions.has(name)) {
        this.#open(name, (message) => {
          const tick = readTick(message);
          if (tick !== null) this.market.take(tick);
        });
      }
    }
  }

  /** Its own subscriptions. The same array until there are others. */
  readonly channels = (): readonly Channel[] => this.#channels;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  channel(name: string): Channel | undefined {
    return this.#subscriptions.get(name)?.channel;
  }

  /** `painter` draws a symbol's price when it changed, the newest always. The result ends that. */
  painted(symbol: string, painter: Painter): () => void {
    const painters = this.#painters.get(symbol) ?? new Set();
    this.#painters.set(symbol, painters.add(painter));
    return () => {
      painters.delete(painter);
      if (painters.size === 0 && this.#painters.get(symbol) === painters) this.#painters.delete(symbol);
    };
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { stop } of this.#subscriptions.values()) stop();
    this.frames.close();
    this.connection.close();
  }

  #paint(symbol: string, at: number): void {
    const quote = this.market.quote(symbol);
    if (quote !== undefined) for (const painter of this.#painters.get(symbol) ?? []) painter(quote, at);
  }

  #open(name: string, take: (message: ChannelMessage<unknown>, replayed: boolean) => void): void {
    const channel = openChannel(this.connection, name, name.startsWith(TICKS) ? { history: HELD_TICKS } : {});
    const stop = channel.onMessage((message, replayed) => {
      if (this.#count(channel, message, replayed)) take(message, replayed);
      this.frames.wake();
    });
    this.#subscriptions.set(name, { channel, stop });
    this.#changed();
  }

  #close(name: string): void {
    const subscription = this.#subscriptions.get(name);
    subscription?.stop();
    subscription?.channel.close();
    this.#subscriptions.delete(name);
    for (const channel of [...this.tallies.keys()]) {
      if (channel === name || (name === ALL_TICKS && channel.startsWith(TICKS))) this.tallies.delete(channel);
    }
    this.#changed();
  }

  /** False for one that is known already. */
  #count(channel: Channel, message: ChannelMessage, replayed: boolean): boolean {
    this.rate.count();
    let tally = this.tallies.get(message.channel);
    if (tally === undefined) {
      if (this.tallies.size >= MOST_TALLIES) return true;
      tally = new Tally();
      this.tallies.set(message.channel, tally);
    }
    const at = Date.parse(message.timestamp);
    const now = this.clock.now();
    if (!replayed && now !== undefined) tally.delay = Math.max(0, now - at);
    // What is brought after a drop comes before the connection is said to be back, or soon after.
    const isBrought = this.connection.state !== "connected" || at < this.#since;
    const recovered = replayed ? channel.snapshot().recovered === true : isBrought;
    return tally.take({ seq: message.seq, at, conflated: message.conflated, replayed, recovered });
  }

  #changed(): void {
    this.#channels = [...this.#subscriptions.values()].map(({ channel }) => channel);
    for (const listener of this.#listeners) listener();
  }

  #measure(): void {
    if (this.connection.state !== "connected") return;
    const ask = async () => Date.parse(String((await this.connection.call("ping", {})).timestamp));
    this.clock.measure(ask).catch(() => undefined); // it is measured again
  }
}
