/** What a channel's messages say of a price. Publishers are outside programs: nothing of a message is believed unseen. */
import type { ChannelMessage } from "atrium-client";

/** One trade. `change` is against the previous close; `at` is the server's time, in milliseconds since the epoch. */
export interface Tick {
  readonly symbol: string;
  readonly name: string;
  readonly price: number;
  readonly change: number | null;
  readonly volume: number;
  readonly at: number;
}

export const TICKS = "ticks:";
export const ALL_TICKS = "ticks:*";
/** Of a symbol or a name; what is longer is cut, and still one symbol. */
const MOST_LETTERS = 200;

const number = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) && Math.abs(value) < 2 ** 53 ? value : null;

const text = (value: unknown): string => (typeof value === "string" ? value.slice(0, MOST_LETTERS).trim() : "");

/** Null if it is no tick: another event, or without a price. */
export const readTick = ({ channel, data, timestamp }: ChannelMessage<unknown>): Tick | null => {
  if (typeof data !== "object" || data === null) return null;
  const told = data as Record<string, unknown>;
  const price = number(told.price);
  const at = Date.parse(timestamp);
  if (price === null || Number.isNaN(at)) return null;
  const symbol = text(told.symbol) || text(channel.slice(TICKS.length));
  if (symbol === "") return null;
  return {
    symbol,
    name: text(told.name),
    price,
    change: number(told.change),
    volume: Math.max(0, number(told.volume) ?? 0),
    at,
  };
};
