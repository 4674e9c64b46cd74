import { onTestFinished, vi } from "vitest";
import { type Connection, type ConnectOptions, connect } from "../../src/index.js";
import { token } from "./server.js";

/** As the tests want it: quick, and closed with the test. */
export function connected<const N extends string>(
  server: { url: string },
  namespace: N,
  options: Omit<ConnectOptions, "namespace"> = {},
): Connection<N> {
  const connection = connect({
    url: server.url,
    namespace,
    token: () => token(),
    policy: { delays: [50], attempts: 400 },
    socket: { transports: ["websocket"] },
    ...options,
  });
  onTestFinished(() => connection.close());
  return connection;
}

/** Until it holds; what it returns. */
export function until<T>(check: () => T | undefined | false | null, timeout = 15_000): Promise<T> {
  return vi.waitFor(
    () => {
      const value = check();
      if (value === undefined || value === false || value === null) throw new Error(`not yet: ${check}`);
      return value;
    },
    { timeout, interval: 10 },
  );
}

export function reached(connection: Connection<any>, state: Connection["state"]): Promise<true> {
  return until(() => connection.state === state && true);
}

/** As if the network were gone, without a word to the server. */
export function cut(connection: Connection<any>): void {
  (connection.socket.io.engine as unknown as { transport: { ws: { terminate(): void } } }).transport.ws.terminate();
}

/** What a browser's `localStorage` is. */
export class MemoryStorage {
  #items = new Map<string, string>();

  get length(): number {
    return this.#items.size;
  }

  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }
}
