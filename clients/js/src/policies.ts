/** When to connect again. Milliseconds. */
export interface Policy {
  /** Before the first try, the second, …; the last one goes on. */
  delays: readonly number[];
  /** Tries in a row before it has failed. Default: one for each delay. */
  attempts?: number;
  /** A delay is shortened by up to this share of it, by chance, so that not all come at once. Default: 0. */
  jitter?: number;
}

const doubling = [1000, 2000, 4000, 8000, 16_000, 30_000];

/** `copilot`, `bank` and `monitor` are those of the clients that Atrium's users had before; `default` never gives up. */
export const policies = {
  default: { delays: doubling, attempts: Infinity, jitter: 0.5 },
  copilot: { delays: doubling, attempts: 10 },
  bank: { delays: doubling.slice(0, 5) },
  monitor: { delays: [3000], attempts: 5 },
} satisfies Record<string, Policy>;

export type PolicyName = keyof typeof policies;

/** Before try number `attempt`, from 0; undefined when there are to be no more. */
export function delayBefore(attempt: number, { delays, attempts = delays.length, jitter = 0 }: Policy) {
  if (attempt >= attempts) return undefined;
  const delay = delays[Math.min(attempt, delays.length - 1)] ?? 0;
  return delay * (1 - jitter * Math.random());
}
