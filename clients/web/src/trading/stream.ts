/** Alerts, orders and chat by when they were published, newest last: what was said before comes channel by channel; the oldest are let go. Told of a few times a second at most. */
import type { ChannelMessage } from "atrium-client";

export const KINDS = ["alert", "order", "chat"] as const;
export type Kind = (typeof KINDS)[number];

export interface Entry {
  readonly key: string;
  readonly kind: Kind;
  /** Said before this page subscribed. */
  readonly replayed: boolean;
  /** Milliseconds since the epoch, by the server's clock. */
  readonly at: number;
  readonly message: ChannelMessage<unknown>;
}

const MOST = 500;
const TELL_MS = 100;

export class Stream {
  #entries: Entry[] = [];
  #shown: readonly Entry[] = [];
  #isNew = false;
  #toldAt = 0;
  #count = 0;
  readonly #listeners = new Set<() => void>();

  add(kind: Kind, message: ChannelMessage<unknown>, replayed: boolean): void {
    const told = Date.parse(message.timestamp);
    const at = Number.isNaN(told) ? (this.#entries.at(-1)?.at ?? 0) : told;
    const before = this.#entries.findLastIndex((each) => each.at <= at); // nearly always the last
    this.#entries.splice(before + 1, 0, { key: `${++this.#count}`, kind, replayed, at, message });
    if (this.#entries.length > 2 * MOST) this.#entries.splice(0, this.#entries.length - MOST);
    this.#isNew = true;
  }

  /** To be called in every frame. */
  flush(at: number): void {
    if (!this.#isNew || at - this.#toldAt < TELL_MS) return;
    this.#toldAt = at;
    this.#isNew = false;
    this.#shown = this.#entries.slice(-MOST);
    for (const listener of this.#listeners) listener();
  }

  readonly entries = (): readonly Entry[] => this.#shown;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}
