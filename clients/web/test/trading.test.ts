import { describe, expect, it } from "vitest";
import { Bars } from "../src/trading/bars";
import { ServerClock } from "../src/trading/server-clock";
import { type Arrival, Tally } from "../src/trading/tally";
import { readTick } from "../src/trading/ticks";

let now = 0;
const clock = () => now;
const arrival = (seq: number, more: Partial<Arrival> = {}): Arrival => ({
  seq,
  at: seq * 10,
  replayed: false,
  recovered: false,
  ...more,
});

describe("a tally", () => {
  it("counts from where the subscription began", () => {
    const tally = new Tally(clock);
    tally.take(arrival(100, { replayed: true }));
    tally.take(arrival(101));
    expect([tally.received, tally.missed]).toEqual([2, 0]);
  });

  it("misses what nothing stands for, until it comes after all", () => {
    const tally = new Tally(clock);
    for (const seq of [1, 2, 5]) tally.take(arrival(seq));
    expect(tally.missed).toBe(2);
    tally.take(arrival(9, { conflated: 3 }));
    expect([tally.missed, tally.conflated]).toEqual([2, 3]);
    tally.take(arrival(4));
    tally.take(arrival(3));
    expect([tally.missed, tally.newest]).toEqual([0, 9]);
  });

  it("takes nothing twice around a subscription", () => {
    const tally = new Tally(clock);
    expect(tally.take(arrival(7, { replayed: true }))).toBe(true);
    expect(tally.take(arrival(7))).toBe(false);
    expect(tally.take(arrival(7, { replayed: true }))).toBe(false);
    expect([tally.received, tally.missed]).toEqual([1, 0]);
  });

  it("goes on with a server that lost its count", () => {
    now = 0;
    const tally = new Tally(clock);
    for (const seq of [10, 11]) tally.take(arrival(seq));
    expect(tally.take({ ...arrival(2, { replayed: true }), at: 5000 })).toBe(true);
    expect(tally.take({ ...arrival(3), at: 5010 })).toBe(true);
    expect([tally.restarts, tally.newest, tally.missed]).toEqual([1, 3, 0]);
  });
});

describe("bars", () => {
  it("hold the first, highest, lowest and last price of their seconds", () => {
    const bars = new Bars(5);
    for (const [at, price] of [
      [10_000, 5],
      [11_000, 9],
      [14_999, 2],
      [15_000, 3],
    ] as const)
      bars.add(at, price, 1);
    expect(bars.list).toEqual([
      { time: 10, open: 5, high: 9, low: 2, close: 2, volume: 3 },
      { time: 15, open: 3, high: 3, low: 3, close: 3, volume: 1 },
    ]);
  });

  it("never go back in time, and begin anew where a clock was set", () => {
    const bars = new Bars(1);
    bars.add(100_000, 5, 1);
    bars.add(98_000, 6, 1);
    expect(bars.list).toHaveLength(1);
    bars.add(100_000 - 86_400_000, 7, 1);
    expect([bars.generation, bars.list.map(({ open }) => open)]).toEqual([1, [7]]);
  });

  it("are bounded", () => {
    const bars = new Bars(1);
    for (let second = 0; second < 10_000; second++) bars.add(second * 1000, 1, 1);
    expect(bars.list.length).toBeLessThan(2100);
    expect(bars.removed + bars.list.length).toBe(10_000);
  });
});

it("a server's clock is told by the quickest of its answers", async () => {
  now = 1000;
  const server = new ServerClock(clock);
  expect(server.now()).toBeUndefined();
  const took = [900, 20, 300, 400, 500];
  await server.measure(async () => {
    const half = (took.shift() ?? 0) / 2;
    now += half;
    const said = now + 86_400_000;
    now += half;
    return said;
  });
  expect(server.now()).toBe(now + 86_400_000);
});

it("a tick is believed as far as it is one", () => {
  const message = (data: unknown) => ({
    type: "tick",
    channel: "ticks:X",
    seq: 1,
    timestamp: "2026-01-01T00:00:00Z",
    data,
  });
  expect(readTick(message({ price: 5 }))).toMatchObject({ symbol: "X", price: 5, change: null, volume: 0 });
  for (const data of [null, [], "5", {}, { price: "5" }, { price: Number.POSITIVE_INFINITY }]) {
    expect(readTick(message(data))).toBeNull();
  }
  expect(readTick(message({ price: 5, symbol: "S".repeat(500), volume: -3 }))).toMatchObject({ volume: 0 });
});
