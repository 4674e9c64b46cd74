import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type ChannelMessage, type ChannelOptions, type Connection, openChannel } from "../src/index.js";
import { connected, cut, reached, until } from "./support/clients.js";
import { Relay } from "./support/relay.js";
import { Server, token } from "./support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(() => server.remove());

const publisher = token("desk", { roles: ["publisher"] });
let number = 0;
const fresh = () => `chat:${++number}`; // its class keeps 50

function opened(connection: Connection<"/trading">, name: string, options: ChannelOptions = {}) {
  const channel = openChannel(connection, name, options);
  onTestFinished(() => channel.close());
  const told: ChannelMessage[] = [];
  channel.onMessage((message) => told.push(message));
  return Object.assign(channel, { told });
}

const subscribed = (channel: ReturnType<typeof opened>) => until(() => channel.snapshot().status === "subscribed");
const numbers = (messages: readonly ChannelMessage[]) => messages.map(({ data }) => data.n);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

async function publish(name: string, from: number, to: number, on = server): Promise<void> {
  const messages = range(from, to).map((n) => ({ type: "news", data: { n, symbol: name } }));
  const { results, error } = await on.post(`/api/channels/${name}/messages`, { messages }, publisher);
  if (error) throw new Error(JSON.stringify(error));
  expect(results ?? []).toHaveLength(messages.length);
}

/** The next so many messages get lost on the way. */
function lose(connection: Connection<any>, count: number): void {
  const socket = connection.socket as unknown as { onevent(packet: { data: [string] }): void };
  const receive = socket.onevent;
  let left = count;
  socket.onevent = function (packet) {
    if (packet.data[0] === "news" && left-- > 0) return;
    receive.call(this, packet);
  };
}

/** Keeps back a connection's subscriptions, on their way there or back, until it is released. */
function hold(connection: Connection<"/trading">, way: "there" | "back" = "there") {
  let release = () => {};
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  const call = connection.call.bind(connection) as (...given: unknown[]) => Promise<any>;
  const held = { asked: 0, answered: 0, release };
  connection.call = (async (event: string, ...rest: unknown[]) => {
    if (event !== "subscribe") return call(event, ...rest);
    held.asked++;
    if (way === "there") await promise;
    const ack = await call(event, ...rest);
    held.answered++;
    if (way === "back") await promise;
    return ack;
  }) as typeof connection.call;
  return held;
}

/** The numbers of what the connection is told as events, whoever listens. */
function overheard(connection: Connection<any>): number[] {
  const numbers: number[] = [];
  connection.socket.on("news", ({ data }) => numbers.push(data.n));
  return numbers;
}

/** Something is done while the link is lost; it comes back after. */
async function away(connection: Connection<any>, relay: Relay, act: () => Promise<void>): Promise<void> {
  relay.refuses = () => true;
  relay.cut();
  await reached(connection, "reconnecting");
  await act();
  relay.refuses = () => false;
  await reached(connection, "connected");
}

test("what is kept, and then what is said, once and in order", async () => {
  const name = fresh();
  await publish(name, 1, 3);
  const channel = opened(connected(server, "/trading"), name);
  const live: boolean[] = [];
  channel.onMessage((_, replayed) => live.push(!replayed));
  await subscribed(channel);
  await publish(name, 4, 60);
  await until(() => channel.told.length === 60);
  expect(numbers(channel.told)).toEqual(range(1, 60));
  expect(live.indexOf(true)).toBe(3);
  const { seq, received, missed, messages, newest } = channel.snapshot();
  expect({ seq, received, missed }).toEqual({ seq: 60, received: 60, missed: 0 });
  expect(numbers(messages)).toEqual(range(1, 60));
  expect(newest.get(name)?.type).toBe("news");
});

test("chat messages, with their own fields", async () => {
  const channel = opened(connected(server, "/trading"), "general");
  const { seq } = await channel.chat("hello");
  await until(() => channel.told.length === 1);
  expect(channel.told[0]).toMatchObject({ type: "chat_message", message: "hello", user_id: "alice", seq });
});

test("lost on the way: fetched, and put in its place", async () => {
  const name = fresh();
  const channel = opened(connected(server, "/trading"), name);
  await subscribed(channel);
  lose(channel.connection, 3);
  await publish(name, 1, 10);
  await until(() => channel.told.length === 10);
  expect(numbers(channel.told)).toEqual(range(1, 10));
  expect(channel.snapshot()).toMatchObject({ missed: 0, recovered: true });
});

test("lost on the way, and not kept any more: counted", async () => {
  const name = fresh();
  const channel = opened(connected(server, "/trading"), name);
  await subscribed(channel);
  lose(channel.connection, 60);
  await publish(name, 1, 61);
  await until(() => channel.told.length === 50);
  expect(numbers(channel.told)).toEqual(range(12, 61));
  expect(channel.snapshot()).toMatchObject({ missed: 11, recovered: false, seq: 61 });
  await publish(name, 62, 62);
  await until(() => channel.told.length === 51);
});

test("a drop that was not recovered from, within what is kept and beyond it", async () => {
  const name = fresh();
  const connection = connected(server, "/trading", { recovery: false });
  const channel = opened(connection, name);
  await publish(name, 1, 1);
  await until(() => channel.told.length === 1);
  for (const [from, to, missed] of [
    [2, 20, 0],
    [21, 100, 30],
  ] as const) {
    cut(connection);
    await until(() => connection.state === "reconnecting");
    const away = publish(name, from, to);
    await Promise.all([away, reached(connection, "connected")]);
    await until(() => channel.told.at(-1)?.data.n === to);
    expect(channel.snapshot().missed).toBeLessThanOrEqual(missed);
    expect(channel.told.length + channel.snapshot().missed).toBe(to);
  }
});

test("all channels of a class, the newest of each", async () => {
  await publish("ticks:AAA", 1, 2);
  const channel = opened(connected(server, "/trading"), "ticks:*");
  await until(() => channel.snapshot().newest.size >= 1);
  await publish("ticks:BBB", 1, 1);
  await publish("ticks:AAA", 3, 3);
  await until(() => channel.snapshot().newest.get("ticks:AAA")?.data.n === 3);
  expect(channel.snapshot().newest.get("ticks:BBB")?.data.n).toBe(1);
  cut(channel.connection);
  await until(() => channel.connection.state === "reconnecting");
  await publish("ticks:AAA", 4, 4);
  await until(() => channel.snapshot().newest.get("ticks:AAA")?.data.n === 4);
});

test("said before the ack, and told in it: once", async () => {
  const connection = connected(server, "/trading");
  await connection.call("subscribe", { channel: "ticks:*" });
  const heard = overheard(connection);
  const held = hold(connection);
  const channel = opened(connection, "ticks:*");
  await publish("ticks:DDD", 1, 2);
  await until(() => heard.length === 2);
  held.release();
  await subscribed(channel);
  await publish("ticks:DDD", 3, 3);
  await until(() => heard.length === 3);
  const told = channel.told.filter((message) => message.channel === "ticks:DDD");
  expect(numbers(told)).toEqual([1, 2, 3]);
});

test("a number far ahead of all others is asked for once, and then forgotten", async () => {
  const name = fresh();
  const connection = connected(server, "/trading", { recovery: false });
  const channel = opened(connection, name);
  await publish(name, 1, 1);
  await until(() => channel.told.length === 1);
  const asks = hold(connection);
  asks.release();
  const socket = connection.socket as unknown as { onevent(packet: { data: unknown[] }): void };
  const told = { channel: name, timestamp: "", data: { n: 0 } };
  for (const seq of [1e9, 1.5]) socket.onevent({ data: ["news", { ...told, seq }] });
  await until(() => asks.answered === 1);
  await publish(name, 2, 2);
  await new Promise((resolve) => setTimeout(resolve, 1500)); // five times as long as a gap is waited for
  expect(asks.asked).toBe(1);
  expect(numbers(channel.told)).toEqual([1, 2]);
  cut(connection);
  await publish(name, 3, 3);
  await until(() => channel.told.length === 3);
  expect(channel.snapshot()).toMatchObject({ seq: 3, missed: 0 });
});

test("a number far ahead, of a channel that conflates: the newest is known again after a drop", async () => {
  const connection = connected(server, "/trading", { recovery: false });
  const channel = opened(connection, "ticks:*");
  await subscribed(channel);
  await publish("ticks:JJJ", 1, 1);
  await until(() => channel.snapshot().newest.has("ticks:JJJ"));
  const asks = hold(connection);
  asks.release();
  cut(connection);
  await until(() => asks.answered === 1); // now its count is known
  const socket = connection.socket as unknown as { onevent(packet: { data: unknown[] }): void };
  const told = { channel: "ticks:JJJ", timestamp: "", data: { n: 0, symbol: "JJJ" } };
  socket.onevent({ data: ["news", { ...told, seq: 1e9 }] });
  cut(connection);
  await until(() => asks.answered === 2);
  await publish("ticks:JJJ", 2, 2);
  await until(() => channel.snapshot().newest.get("ticks:JJJ")?.data.n === 2);
});

describe("a server that starts anew", () => {
  let mortal: Server;
  beforeAll(async () => {
    mortal = await Server.start();
  });
  afterAll(() => mortal.remove());

  test("numbers anew", async () => {
    const name = fresh();
    const channel = opened(connected(mortal, "/trading"), name);
    await subscribed(channel);
    await publish(name, 1, 5, mortal);
    await until(() => channel.told.length === 5);
    const { epoch } = channel.snapshot();
    await mortal.kill();
    await mortal.start();
    await publish(name, 6, 7, mortal);
    await until(() => channel.told.length === 7);
    expect(channel.snapshot().epoch).not.toBe(epoch);
    expect(numbers(channel.snapshot().messages)).toEqual([6, 7]);
  });

  test("of a class, each channel has its own count, and may begin it anew", async () => {
    await publish("ticks:AAA", 1, 5, mortal);
    const connection = connected(mortal, "/trading");
    const channel = opened(connection, "ticks:*");
    await until(() => channel.told.length === 1);
    await publish("ticks:BBB", 1, 3, mortal); // a channel that no ack has told
    await until(() => channel.told.length === 4);
    const before = channel.snapshot().epochs.get("ticks:AAA");
    expect(before).toBeTruthy();
    const held = hold(connection);
    await mortal.kill();
    await mortal.start();
    await publish("ticks:AAA", 6, 6, mortal); // its number is lower than what is known
    await publish("ticks:BBB", 4, 6, mortal); // the same number
    await until(() => held.asked > 0);
    held.release();
    await until(() => channel.snapshot().newest.get("ticks:BBB")?.data.n === 6);
    await publish("ticks:AAA", 7, 7, mortal);
    await until(() => channel.snapshot().newest.get("ticks:AAA")?.data.n === 7);
    expect(numbers(channel.told)).toEqual([5, 1, 2, 3, 6, 6, 7]);
    expect(channel.snapshot().epochs.get("ticks:AAA")).not.toBe(before);
    expect(numbers(channel.snapshot().messages.filter((message) => message.channel === "ticks:AAA"))).toEqual([6, 7]);
  });
});

test("the same count after a drop: nothing of it twice", async () => {
  const relay = await Relay.to(server);
  const connection = connected(relay, "/trading", { recovery: false });
  const channel = opened(connection, "ticks:*");
  await subscribed(channel);
  await publish("ticks:EEE", 1, 2);
  await publish("ticks:FFF", 1, 1);
  const own = () => channel.told.filter((message) => /EEE|FFF/.test(message.channel));
  await until(() => own().length === 3);
  for (const n of [3, 4]) {
    const held = hold(connection);
    await away(connection, relay, () => publish("ticks:EEE", n, n));
    held.release();
    await until(() => channel.snapshot().newest.get("ticks:EEE")?.data.n === n);
  }
  expect(numbers(own())).toEqual([1, 2, 1, 3, 4]);
});

test("a drop that was recovered from: what is volatile is asked for, and what is kept is not", async () => {
  const relay = await Relay.to(server);
  const connection = connected(relay, "/trading");
  const name = fresh();
  const [ticks, kept] = [opened(connection, "ticks:GGG"), opened(connection, name)];
  await Promise.all([subscribed(ticks), subscribed(kept)]);
  await publish("ticks:GGG", 1, 1);
  await publish(name, 1, 1);
  await until(() => ticks.told.length === 1 && kept.told.length === 1);
  const asks = hold(connection);
  asks.release();
  await away(connection, relay, async () => {
    await publish("ticks:GGG", 2, 2);
    await publish(name, 2, 2);
  });
  expect(connection.recovered).toBe(true);
  await until(() => ticks.told.length === 2 && kept.told.length === 2);
  expect(numbers(ticks.told)).toEqual([1, 2]);
  expect(numbers(kept.told)).toEqual([1, 2]);
  expect(asks.asked).toBe(1);
});

test("a drop that was recovered from, before the ack", async () => {
  const relay = await Relay.to(server);
  const connection = connected(relay, "/trading");
  const channel = opened(connection, fresh());
  await publish(channel.channel, 1, 1);
  await until(() => channel.told.length === 1);
  lose(connection, 1);
  const held = hold(connection, "back");
  await publish(channel.channel, 2, 3);
  await until(() => held.asked === 1);
  await away(connection, relay, () => publish(channel.channel, 4, 4));
  held.release();
  await until(() => channel.told.length === 4);
  expect(numbers(channel.told)).toEqual([1, 2, 3, 4]);
  expect(connection.recovered).toBe(true);
});

test("more than is held before the ack: told as far as it is there, and else counted", async () => {
  const connection = connected(server, "/trading");
  const channel = opened(connection, fresh());
  await publish(channel.channel, 1, 1);
  await until(() => channel.told.length === 1);
  const heard = overheard(connection);
  lose(connection, 1);
  const held = hold(connection);
  await publish(channel.channel, 2, 3);
  await until(() => held.asked === 1); // for the lost one
  for (let n = 4; n < 5204; n += 1000) await publish(channel.channel, n, Math.min(n + 999, 5203));
  await until(() => heard.at(-1) === 5203);
  held.release();
  await until(() => channel.told.at(-1)?.data.n === 5203);
  expect(numbers(channel.told)).toEqual([1, ...range(204, 5203)]);
  expect(channel.snapshot()).toMatchObject({ missed: 202, seq: 5203 });
});

test("more than is held before the ack, of a class", async () => {
  const connection = connected(server, "/trading");
  await connection.call("subscribe", { channel: "ticks:*" });
  const heard = overheard(connection);
  const held = hold(connection, "back");
  const channel = opened(connection, "ticks:*");
  await until(() => held.answered === 1);
  for (let n = 1; n < 5101; n += 1000) await publish("ticks:HHH", n, Math.min(n + 999, 5100));
  await until(() => heard.at(-1) === 5100);
  held.release();
  await until(() => channel.told.at(-1)?.data.n === 5100);
  const { missed, conflated } = channel.snapshot();
  expect(missed).toBeGreaterThan(0);
  expect(channel.told.filter((message) => message.channel === "ticks:HHH").length + conflated + missed).toBe(5100);
});

test("what a slow reader is spared is counted, and not missed", async () => {
  const relay = await Relay.to(server);
  const channel = opened(connected(relay, "/trading"), "ticks:CCC");
  await subscribed(channel);
  const { ws } = (channel.connection.socket.io.engine as any).transport;
  ws._socket.pause();
  relay.pauses(true);
  for (let round = 0; round < 30; round++) await publish("ticks:CCC", 1000 * round, 1000 * round + 999);
  relay.pauses(false);
  ws._socket.resume();
  await until(() => channel.snapshot().newest.get("ticks:CCC")?.data.n === 29_999);
  const { received, conflated, missed } = channel.snapshot();
  expect(conflated).toBeGreaterThan(0);
  expect({ missed, all: received + conflated }).toEqual({ missed: 0, all: 30_000 });
});

test("one's own from other channels, and others' channels", async () => {
  const own = opened(connected(server, "/trading"), "user:alice");
  await subscribed(own);
  await publish("user:alice", 1, 1);
  await until(() => own.told.length === 1);
  const others = opened(connected(server, "/trading"), "user:bob");
  await until(() => others.snapshot().status === "failed");
  expect(others.snapshot().error?.code).toBe("FORBIDDEN");
});

test("rights that are gone end it", async () => {
  const member = (roles: string[]) => token("alice", { roles });
  const connection = connected(server, "/trading", { token: () => member(["group:desk"]) });
  const channel = opened(connection, "group:desk");
  await subscribed(channel);
  let asked = 0;
  const expiring = connected(server, "/trading", {
    token: () => token("carol", asked++ ? {} : { roles: ["group:desk"], lifetime: 3 }),
  });
  const ended = opened(expiring, "group:desk");
  await until(() => ended.snapshot().status === "ended");
  expect(channel.snapshot().status).toBe("subscribed");
});

test("two of one name are one subscription", async () => {
  const name = fresh();
  const connection = connected(server, "/trading");
  const [one, other] = [opened(connection, name), opened(connection, name)];
  await Promise.all([subscribed(one), subscribed(other)]);
  one.close();
  await publish(name, 1, 2);
  await until(() => other.told.length === 2);
  expect(one.told).toEqual([]);
});

test("too many subscriptions in a second: as fast as it may", async () => {
  const strict = await Server.start({ RATE_LIMIT_EVENTS_PER_SECOND: "10" });
  onTestFinished(() => strict.remove());
  const connection = connected(strict, "/trading");
  const channels = range(1, 25).map((n) => opened(connection, `chat:${n}`));
  await Promise.all(channels.map(subscribed));
});

test("5,000 messages are told to renderers once a frame", async () => {
  const channel = opened(connected(server, "/trading"), "stock_updates", { history: 100 });
  await subscribed(channel);
  let renders = 0;
  channel.subscribe(() => {
    renders++;
    channel.snapshot();
  });
  const began = performance.now();
  for (let round = 0; round < 5; round++) await publish("stock_updates", 1000 * round + 1, 1000 * round + 1000);
  await until(() => channel.told.length === 5000);
  const frames = (performance.now() - began) / 16;
  expect(renders).toBeLessThanOrEqual(frames + 2);
  expect(channel.snapshot().messages).toHaveLength(100);
  expect(numbers(channel.told)).toEqual(range(1, 5000));
});
