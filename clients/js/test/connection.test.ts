import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { AtriumError, type Connection, connect } from "../src/index.js";
import { connected, reached, until } from "./support/clients.js";
import { Relay } from "./support/relay.js";
import { Server, token } from "./support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(() => server.remove());

/** Of its own, for tests that end it. */
async function another(environ: Record<string, string> = {}): Promise<Server> {
  const made = await Server.start(environ);
  onTestFinished(() => made.remove());
  return made;
}

/** Every state it comes to. */
function states(connection: Connection<any>): string[] {
  const seen: string[] = [connection.state];
  connection.onState((state) => seen.push(state));
  return seen;
}

const refusal = async (promise: Promise<unknown>): Promise<AtriumError> => {
  const error = await promise.then(
    () => undefined,
    (cause) => cause,
  );
  expect(error).toBeInstanceOf(AtriumError);
  return error;
};

describe("calls", () => {
  test("wait for the connection, and resolve to the ack without its ok", async () => {
    const connection = connected(server, "/trading");
    const ack = await connection.call("subscribe", { channel: "general" });
    expect(ack).toMatchObject({ channel: "general", success: true, seq: 0 });
    expect(ack).not.toHaveProperty("ok");
    expect(connection.userId).toBe("alice");
  });

  test("reject with what the server says is wrong", async () => {
    const connection = connected(server, "/trading");
    const unknown = await refusal(connection.call("no_such_event"));
    expect(unknown.code).toBe("UNKNOWN_EVENT");
    const invalid = await refusal(connection.call("subscribe", { channel: 7 } as never));
    expect(invalid).toMatchObject({ code: "INVALID_MESSAGE", details: { channel: expect.anything() } });
  });

  test("say whether anything was sent", async () => {
    const relay = await Relay.to(server);
    const connection = connected(relay, "/trading");
    await reached(connection, "connected");
    relay.mutes = true;
    expect((await refusal(connection.call("ping", {}, { timeout: 50 }))).code).toBe("TIMEOUT");
    const lost = refusal(connection.call("ping"));
    relay.refuses = () => true;
    relay.cut();
    expect((await lost).code).toBe("CONNECTION_LOST");
    expect((await refusal(connection.call("ping", {}, { timeout: 50 }))).code).toBe("NOT_CONNECTED");
    const waiting = refusal(connection.call("ping"));
    connection.close();
    expect((await waiting).code).toBe("CLOSED");
    expect((await refusal(connection.call("ping"))).code).toBe("CLOSED");
  });

  test("that wait are bounded", async () => {
    const connection = connected({ url: "http://127.0.0.1:1" }, "/trading");
    const calls = Array.from({ length: 1001 }, () => refusal(connection.call("ping")));
    expect((await calls[1000])?.code).toBe("LIMIT_EXCEEDED");
    connection.close();
    expect(new Set((await Promise.all(calls.slice(0, 1000))).map(({ code }) => code))).toEqual(new Set(["CLOSED"]));
  });
});

describe("drops", () => {
  test("the network: the same id, what was missed, and no offset in handlers", async () => {
    const relay = await Relay.to(server);
    const connection = connected(relay, "/trading");
    const heard: unknown[][] = [];
    const recovered: boolean[] = [];
    connection.on("news", (...args) => {
      heard.push(args);
      recovered.push(connection.recovered);
    });
    await connection.call("subscribe", { channel: "alerts" });
    expect(connection.recovered).toBe(false);
    const { id } = connection;
    relay.refuses = () => true;
    relay.cut();
    await reached(connection, "reconnecting");
    const publisher = token("desk", { roles: ["publisher"] });
    for (const n of [1, 2])
      await server.post("/api/channels/alerts/messages", { type: "news", data: { n } }, publisher);
    relay.refuses = () => false;
    await reached(connection, "connected");
    await until(() => heard.length === 2);
    expect(connection).toMatchObject({ id, recovered: true });
    expect(recovered).toEqual([true, true]);
    expect(heard.map((args) => [args.length, (args[0] as any).data.n])).toEqual([
      [1, 1],
      [1, 2],
    ]);
  });

  test("the server is killed and starts again", async () => {
    const mortal = await another();
    const connection = connected(mortal, "/trading");
    await reached(connection, "connected");
    const seen = states(connection);
    await mortal.kill();
    await reached(connection, "reconnecting");
    const call = connection.call("subscribe", { channel: "general" });
    await mortal.start();
    expect((await call).success).toBe(true);
    expect(seen).toEqual(["connected", "reconnecting", "connected"]);
    expect(connection).toMatchObject({ recovered: false, error: undefined });
  });

  test("a drained server is left, and tried again when it said", async () => {
    const mortal = await another();
    const connection = connected(mortal, "/trading", { policy: { delays: [60_000] } });
    await reached(connection, "connected");
    const told: string[] = [];
    connection.on("server_draining", ({ reconnect_after_ms }) => told.push(typeof reconnect_after_ms));
    connection.on("disconnecting_reason", ({ code }) => told.push(code));
    const why = new Promise((resolve) => connection.onState(() => resolve(connection.error)));
    const gone = mortal.terminate();
    expect(await why).toMatchObject({ code: "GOING_AWAY", closeCode: 1001 });
    await gone;
    expect(told).toEqual(["number", "GOING_AWAY"]);
    await mortal.start();
    connection.retry(); // who drains alone has nobody to go to: its one try was in vain
    await reached(connection, "connected");
  });
});

test.each([1e15, "1e400", "soon", -5])(
  "a drain that says to come back after %s ms: a minute at most",
  async (after) => {
    const timers: unknown[] = [];
    const later = globalThis.setTimeout;
    const connection = connected(server, "/trading", { policy: { delays: [] } });
    await reached(connection, "connected");
    const socket = connection.socket as unknown as { onevent(packet: { data: unknown[] }): void };
    socket.onevent({ data: ["server_draining", { reconnect_after_ms: after }] });
    globalThis.setTimeout = ((run: () => void, ms?: number) => {
      timers.push(ms);
      return later(run, ms);
    }) as typeof setTimeout;
    onTestFinished(() => {
      globalThis.setTimeout = later;
    });
    const dropped = new Promise((resolve) => connection.onState(resolve));
    connection.socket.io.engine.close();
    await dropped;
    const [wait] = timers.slice(-1);
    expect(wait).toBeGreaterThanOrEqual(0);
    expect(wait).toBeLessThanOrEqual(60_000);
  },
);

describe("policies", () => {
  test("the monitor's gives up after five tries, three seconds apart", async () => {
    const { policies } = await import("../src/index.js");
    const { delayBefore } = await import("../src/policies.js");
    const delays = (name: keyof typeof policies) =>
      Array.from({ length: 12 }, (_, attempt) => delayBefore(attempt, policies[name]));
    const none = undefined;
    const seconds = (...of: number[]) => of.map((each) => each * 1000);
    expect(delays("monitor")).toEqual([...seconds(3, 3, 3, 3, 3), ...Array(7).fill(none)]);
    expect(delays("bank")).toEqual([...seconds(1, 2, 4, 8, 16), ...Array(7).fill(none)]);
    expect(delays("copilot")).toEqual([...seconds(1, 2, 4, 8, 16, 30, 30, 30, 30, 30), none, none]);
    for (const delay of delays("default")) expect(delay).toBeLessThanOrEqual(30_000);
  });

  test("after the last try it has failed, and goes on by hand", async () => {
    const late = await Server.later();
    onTestFinished(() => late.remove());
    const connection = connected(late, "/trading", { policy: { delays: [10, 10] } });
    const seen = states(connection);
    await reached(connection, "failed");
    expect(seen).toEqual(["connecting", "reconnecting", "failed"]);
    expect(connection.error?.code).toBe("UNREACHABLE");
    expect((await refusal(connection.call("ping"))).code).toBe("UNREACHABLE");
    await late.start();
    connection.retry();
    await reached(connection, "connected");
  });

  test("a probe finds the server when it is there", async () => {
    const late = await Server.later();
    onTestFinished(() => late.remove());
    const connection = connected(late, "/trading", { policy: { delays: [10] }, probe: 50 });
    await reached(connection, "failed");
    await late.start();
    await reached(connection, "connected");
  });
});

describe("tokens", () => {
  test("none, or a wrong one, is refused for good", async () => {
    const missing = connected(server, "/chat", { token: undefined });
    await reached(missing, "failed");
    expect(missing.error).toMatchObject({ code: "TOKEN_MISSING", closeCode: 1008 });
    let asked = 0;
    const wrong = connected(server, "/chat", { token: () => `garbage ${++asked}` });
    await reached(wrong, "failed");
    expect([wrong.error?.code, asked]).toEqual(["TOKEN_INVALID", 2]);
  });

  test("an expired one is asked for again", async () => {
    const reasons: string[] = [];
    const connection = connected(server, "/chat", {
      token: (reason) => {
        reasons.push(reason);
        return token("alice", { lifetime: reason === "connect" ? -100 : 3600 });
      },
    });
    await reached(connection, "connected");
    expect(reasons).toEqual(["connect", "refused"]);
  });

  test("one that expires while connected is renewed, and the connection stays", async () => {
    const reasons: string[] = [];
    const connection = connected(server, "/chat", {
      token: (reason) => {
        reasons.push(reason);
        return token("alice", { lifetime: reason === "connect" ? 2 : 3600 });
      },
    });
    const seen = states(connection);
    const authenticated = until(() => reasons.length === 2);
    await authenticated;
    await new Promise((resolve) => setTimeout(resolve, 2500)); // the first token's time
    expect(seen).toEqual(["connecting", "connected"]);
    await connection.call("ping");
    expect(reasons).toEqual(["connect", "expiring"]);
  });

  test("one that is not renewed ends the connection, and the next one is asked for", async () => {
    const reasons: string[] = [];
    let first: string | undefined;
    const connection = connected(server, "/chat", {
      token: (reason) => {
        reasons.push(reason);
        first ??= token("alice", { lifetime: 2 });
        return reason === "refused" ? token() : first;
      },
    });
    const seen = states(connection);
    await until(() => seen.filter((state) => state === "connected").length === 2, 40_000);
    expect(reasons.at(0)).toBe("connect");
    expect(reasons.at(-1)).toBe("refused");
    expect(reasons.slice(1, -1).every((reason) => reason === "expiring")).toBe(true);
  }, 50_000);

  test("one that is a string is used for all connects, and refused for good", async () => {
    const connection = connected(server, "/chat", { token: token("dora") });
    await reached(connection, "connected");
    await until(() => connection.userId === "dora");
    const wrong = connected(server, "/chat", { token: "garbage" });
    await reached(wrong, "failed");
    expect(wrong.error?.code).toBe("TOKEN_INVALID");
  });

  test("who wants one while a connect asks for it gets the same", async () => {
    let asked = 0;
    const connection = connected(server, "/chat", { token: async () => token(`user-${++asked}`) });
    const [one, other] = await Promise.all([connection.token(), connection.token()]);
    await reached(connection, "connected");
    expect([one === other, asked]).toEqual([true, 1]);
  });

  test("a function that fails is asked again", async () => {
    let asked = 0;
    const connection = connected(server, "/chat", {
      token: async () => {
        if (++asked < 3) throw new Error("the issuer is away");
        return token();
      },
    });
    await until(() => connection.error?.code === "TOKEN_UNAVAILABLE");
    await reached(connection, "connected");
    expect(asked).toBe(3);
  });
});

describe("refused", () => {
  test("a namespace that is not there", async () => {
    const connection = connected(server, "/nowhere");
    await reached(connection, "failed");
    expect(connection.error?.code).toBe("REFUSED");
  });

  test("by a full server: it waits its turn", async () => {
    const small = await another({ WS_MAX_CONNECTIONS: "1" });
    const first = connected(small, "/trading");
    await reached(first, "connected");
    const second = connected(small, "/trading");
    await until(() => second.error?.code === "SERVER_FULL");
    first.close();
    await reached(second, "connected");
  });

  test("for connecting too often: not before the time it was told", async () => {
    const strict = await another({ RATE_LIMIT_CONNECTS_PER_SECOND: "1" });
    const first = connected(strict, "/trading");
    await reached(first, "connected");
    const second = connected(strict, "/trading");
    await until(() => second.error?.code === "RATE_LIMITED");
    expect(second.error?.retryAfter).toBeGreaterThan(0);
    await reached(second, "connected");
  });

  test("by a newer session, or an administrator: it stays away", async () => {
    const single = await another({ SINGLE_SESSION_PER_USER: "true" });
    const older = connected(single, "/trading");
    await reached(older, "connected");
    const newer = connected(single, "/trading");
    await reached(older, "failed");
    expect(older.error).toMatchObject({ code: "SESSION_REPLACED", closeCode: 4009 });
    await reached(newer, "connected");
  });
});

test("polls where there is no WebSocket", async () => {
  const relay = await Relay.to(server);
  relay.refuses = (head) => head.includes("transport=websocket");
  const connection = connect({ url: relay.url, namespace: "/trading", token: () => token() });
  onTestFinished(() => connection.close());
  expect((await connection.call("subscribe", { channel: "general" })).success).toBe(true);
  expect(connection.socket.io.engine.transport.name).toBe("polling");
});

test("a listener's fault is not another's", async () => {
  const connection = connected(server, "/trading");
  const logged: unknown[] = [];
  const { error } = console;
  console.error = (cause) => logged.push(cause);
  onTestFinished(() => {
    console.error = error;
  });
  const stop = connection.onState(() => {
    throw new Error("mine");
  });
  onTestFinished(stop);
  const seen = states(connection);
  await reached(connection, "connected");
  expect([seen.at(-1), String(logged[0])]).toEqual(["connected", "Error: mine"]);
});
