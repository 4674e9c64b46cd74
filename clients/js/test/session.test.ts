import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  AtriumError,
  type ChatMessage,
  type ChatSession,
  type Connection,
  openSession,
  type SessionOptions,
} from "../src/index.js";
import { connected, cut, MemoryStorage, reached, until } from "./support/clients.js";
import { Relay } from "./support/relay.js";
import { Server, token } from "./support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(() => server.remove());

let number = 0;
const fresh = () => `session-${++number}`;

function opened(connection: Connection<"/chat">, id: string, options: SessionOptions = {}) {
  const session = openSession(connection, id, options);
  onTestFinished(() => session.close());
  const told: ChatMessage[] = [];
  session.onMessage((message) => told.push(message));
  return Object.assign(session, { told });
}

const joined = (session: ChatSession) => until(() => session.snapshot().status === "joined");
const contents = (session: ChatSession) => session.snapshot().messages.map(({ content }) => content);
const seqs = (messages: readonly ChatMessage[]) => messages.map(({ seq }) => seq);

/** Somebody else in the session, who may say things while the first is away. */
async function bob(id: string) {
  const session = opened(connected(server, "/chat", { token: () => token("bob", { roles: ["admin"] }) }), id);
  await joined(session);
  return session;
}

/** More at once than a person says, and so not by `send`. */
const many = ({ connection, sessionId }: ChatSession, count: number) =>
  Array.from({ length: count }, (_, index) =>
    connection.call("message", { session_id: sessionId, content: `${index}` }),
  );

/** The next so many events of this name get lost on the way. */
function lose(connection: Connection<any>, event: string, count = 1): void {
  const socket = connection.socket as unknown as { onevent(packet: { data: [string] }): void };
  const receive = socket.onevent;
  let left = count;
  socket.onevent = function (packet) {
    if (packet.data[0] === event && left-- > 0) return;
    receive.call(this, packet);
  };
}

/** Every event of this name comes twice. */
function repeat(connection: Connection<any>, event: string): void {
  const socket = connection.socket as unknown as { onevent(packet: { data: unknown[] }): void };
  const receive = socket.onevent;
  socket.onevent = function (packet) {
    if (packet.data[0] === event) receive.call(this, { ...packet, data: [...packet.data] });
    receive.call(this, packet);
  };
}

/** What a session showed of an answer while it was given. */
function streamed(session: ChatSession): Set<string> {
  const seen = new Set<string>();
  session.subscribe(() => {
    for (const { content } of session.snapshot().streams) seen.add(content);
  });
  return seen;
}

/** Who wrote what is kept, as far as that is known. */
function stamps(storage: MemoryStorage): (string | undefined)[] {
  return Array.from({ length: storage.length }, (_, index) => {
    const item = storage.getItem(storage.key(index) ?? "") ?? "";
    return JSON.parse(item).user_id;
  });
}

/** What is asked of a server by HTTP is done by `instead`, where that has an answer or throws. */
function intercept(
  { url: base }: { url: string },
  instead: (path: string, method: string) => Promise<Response | undefined>,
): void {
  const real = globalThis.fetch;
  onTestFinished(() => {
    globalThis.fetch = real;
  });
  globalThis.fetch = async (url, init) => {
    const { origin, pathname } = new URL(String(url));
    return (origin === base && (await instead(pathname, init?.method ?? "GET"))) || real(url, init);
  };
}

/** As if the server had said it. */
function lie(connection: Connection<any>, event: string, payload: unknown): void {
  const socket = connection.socket as unknown as { onevent(packet: { data: unknown[] }): void };
  socket.onevent({ data: [event, payload] });
}

describe("saying", () => {
  test("stored and told once, in order", async () => {
    const connection = connected(server, "/chat");
    const session = opened(connection, fresh());
    const sent = await Promise.all(["one", "two", "three"].map((content) => session.send(content)));
    expect(seqs(sent as never)).toEqual([1, 2, 3]);
    await until(() => session.told.length === 3);
    const { status, pending, online } = session.snapshot();
    expect({ status, pending, online }).toEqual({ status: "joined", pending: [], online: ["alice"] });
    expect(contents(session)).toEqual(["one", "two", "three"]);
  });

  test("with an ack that is lost: sent again, stored once", async () => {
    const relay = await Relay.to(server);
    const connection = connected(relay, "/chat");
    const session = opened(connection, fresh());
    await joined(session);
    relay.mutes = true;
    const sent = session.send("once");
    const witness = await bob(session.sessionId);
    await until(() => witness.told.length === 1);
    expect(session.snapshot().pending.map(({ content }) => content)).toEqual(["once"]);
    relay.cut();
    relay.mutes = false;
    expect((await sent).seq).toBe(1);
    await session.send("twice");
    await until(() => witness.told.length === 2);
    expect(witness.told.map(({ content }) => content)).toEqual(["once", "twice"]);
    expect(session.told.map(({ content }) => content)).toEqual(["once", "twice"]);
    expect(session.snapshot().pending).toEqual([]);
  });

  test("and reloading before it is sent: it is kept, and said by the next one", async () => {
    const storage = new MemoryStorage();
    const id = fresh();
    const offline = connected({ url: server.url }, "/chat", { socket: { path: "/nowhere/" } });
    const before = opened(offline, id, { storage, fallback: false });
    before.send("first").catch(() => {});
    before.send("second").catch(() => {});
    await until(() => stamps(storage).every((userId) => userId === "alice"));
    before.close();
    offline.close();
    expect(storage.length).toBe(2);
    storage.setItem(`atrium:${server.url}:${id}:broken`, "{");
    const after = opened(connected(server, "/chat"), id, { storage });
    await until(() => after.told.length === 2);
    expect(contents(after)).toEqual(["first", "second"]);
    await until(() => storage.length === 1); // the broken one is nobody's
  });

  test("what another user left unsent is not said in one's name", async () => {
    const storage = new MemoryStorage();
    const id = fresh();
    const first = opened(connected(server, "/chat"), id, { storage });
    await joined(first);
    await first.send("mine");
    cut(first.connection);
    await until(() => first.connection.state === "reconnecting");
    first.send("private").catch(() => {});
    first.close();
    const admin = { token: () => token("bob", { roles: ["admin"] }) };
    const other = opened(connected(server, "/chat", admin), id, { storage });
    await joined(other);
    await other.send("his");
    expect(contents(other)).toEqual(["mine", "his"]);
    expect(storage.length).toBe(1);
    expect(other.snapshot().pending).toEqual([]);
  });

  test("nor what was left before anybody was connected", async () => {
    const storage = new MemoryStorage();
    const id = fresh();
    const offline = connected({ url: server.url }, "/chat", {
      socket: { path: "/nowhere/" },
      token: () => token("박지민"),
    });
    const before = opened(offline, id, { storage, fallback: false });
    before.send("private").catch(() => {});
    await until(() => stamps(storage)[0] === "박지민");
    before.close();
    offline.close();
    storage.setItem(
      `atrium:${server.url}:${id}:1`,
      JSON.stringify({ client_message_id: "1", content: "of nobody", created_at: "" }),
    );
    const other = opened(connected(server, "/chat"), id, { storage });
    expect(other.snapshot().pending).toEqual([]);
    await other.send("hers");
    expect(contents(other)).toEqual(["hers"]);
    expect(storage.length).toBe(2);
  });

  test("nor over HTTP, by one who never was connected", async () => {
    const storage = new MemoryStorage();
    const relay = await Relay.to(server);
    const id = fresh();
    const first = opened(connected(relay, "/chat", { token: () => token("carol") }), id, { storage });
    await joined(first);
    relay.refuses = () => true;
    relay.cut();
    await reached(first.connection, "reconnecting");
    first.send("private").catch(() => {});
    first.close();
    first.connection.close();
    relay.refuses = (head) => head.includes("/socket.io");
    const admin = { token: () => token("bob", { roles: ["admin"] }), policy: { delays: [10] } };
    const other = opened(connected(relay, "/chat", admin), id, { storage, pollInterval: 50 });
    await other.send("his");
    await until(() => other.told.length > 0);
    expect(contents(other)).toEqual(["his"]);
    expect(stamps(storage)).toEqual(["carol"]);
  });

  test("what is refused stays, to be tried again or discarded", async () => {
    const session = opened(connected(server, "/chat"), fresh());
    await joined(session);
    const refused = session.send("no", { metadata: { x: "y".repeat(9000) } });
    await expect(refused).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
    const [pending] = session.snapshot().pending;
    expect(pending?.error?.code).toBe("INVALID_MESSAGE");
    await session.send("others go on");
    session.discard(pending?.client_message_id ?? "");
    expect(session.snapshot().pending).toEqual([]);
    expect(contents(session)).toEqual(["others go on"]);
  });

  test("what is too big ends the connection once, and not the session", async () => {
    const session = opened(connected(server, "/chat"), fresh());
    await joined(session);
    await expect(session.send("x".repeat(66_000))).rejects.toMatchObject({ code: "MESSAGE_TOO_BIG" });
    expect((await session.send("small")).seq).toBe(1);
  });

  test("too fast: as fast as it may", async () => {
    const strict = await Server.start({ RATE_LIMIT_MESSAGES_PER_MINUTE: "3" });
    onTestFinished(() => strict.remove());
    const session = opened(connected(strict, "/chat"), fresh());
    for (const content of ["1", "2", "3", "4"]) session.send(content).catch(() => {});
    await until(() => session.told.length === 3);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(session.snapshot().pending.map(({ content, error }) => [content, error])).toEqual([["4", undefined]]);
  });

  test("more than is kept is refused", async () => {
    const session = opened(connected({ url: "http://127.0.0.1:1" }, "/chat"), fresh());
    for (let count = 0; count < 200; count++) session.send(String(count)).catch(() => {});
    await expect(session.send("one more")).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
  });
});

describe("hearing", () => {
  test("a message that got lost on the way is filled in, in its place", async () => {
    const id = fresh();
    const session = opened(connected(server, "/chat"), id);
    await joined(session);
    const other = await bob(id);
    lose(session.connection, "message", 2);
    for (const content of ["1", "2", "3"]) await other.send(content);
    await until(() => session.told.length === 3);
    expect(session.told.map(({ content }) => content)).toEqual(["1", "2", "3"]);
    expect(seqs(session.snapshot().messages)).toEqual([1, 2, 3]);
  });

  test("one's own that got lost is asked for", async () => {
    const session = opened(connected(server, "/chat"), fresh());
    await joined(session);
    lose(session.connection, "message");
    await session.send("mine");
    await until(() => session.told.length === 1);
  });

  test("what was said, edited and deleted in a drop that was not recovered from", async () => {
    const id = fresh();
    const session = opened(connected(server, "/chat", { recovery: false }), id);
    await joined(session);
    const other = await bob(id);
    const [edited, deleted] = [await other.send("typo"), await other.send("regretted")];
    await until(() => session.told.length === 2);
    cut(session.connection);
    await until(() => session.connection.state === "reconnecting");
    await Promise.all([other.edit(edited.message_id, "fixed"), other.delete(deleted.message_id), ...many(other, 250)]);
    await until(() => session.told.length === 252);
    expect(session.connection.recovered).toBe(false);
    expect(contents(session).slice(0, 3)).toEqual(["fixed", "", "0"]);
    expect(session.snapshot().messages[1]?.metadata).toHaveProperty("deleted_at");
    expect(seqs(session.told)).toEqual(Array.from({ length: 252 }, (_, index) => index + 1));
  });

  test("away for longer than it keeps: the newest, and a page of older ones at a time", async () => {
    const id = fresh();
    const session = opened(connected(server, "/chat", { recovery: false }), id, { history: 100 });
    await joined(session);
    const other = await bob(id);
    await other.send("first");
    await until(() => session.told.length === 1);
    cut(session.connection);
    await until(() => session.connection.state === "reconnecting");
    session.connection.close();
    await Promise.all(many(other, 400));
    const back = opened(connected(server, "/chat"), id, { history: 100 });
    await joined(back);
    await until(() => back.snapshot().lastSeq === 401);
    const first = back.snapshot().messages[0]?.seq ?? 0;
    expect(first).toBeGreaterThan(200);
    expect(back.snapshot().hasOlder).toBe(true);
    expect(await back.loadOlder()).toBe(true);
    const { messages } = back.snapshot();
    expect(seqs(messages)).toEqual(Array.from({ length: messages.length }, (_, index) => index + first - 200));
    await other.send("and on");
    await until(() => back.snapshot().messages.at(-1)?.content === "and on");
  });

  test("whatever happens, it ends with what a new one is told", async () => {
    const id = fresh();
    const relay = await Relay.to(server);
    const session = opened(connected(relay, "/chat"), id);
    await joined(session);
    const other = await bob(id);
    const said: Promise<unknown>[] = [];
    for (let round = 0; round < 12; round++) {
      for (let count = 0; count < 10; count++)
        said.push(session.send(`a${round}.${count}`), other.send(`b${round}.${count}`));
      if (round % 4 === 1) lose(session.connection, "message", 3);
      if (round % 4 === 2) relay.cut();
      if (round % 4 === 3) cut(other.connection);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await Promise.all(said);
    const afresh = opened(connected(server, "/chat"), id, { history: 1000 });
    await joined(afresh);
    await until(() => session.snapshot().lastSeq === 240 && other.snapshot().lastSeq === 240);
    for (const each of [session, other]) {
      expect(seqs(each.told)).toEqual(Array.from({ length: 240 }, (_, index) => index + 1));
      expect(each.snapshot().messages.slice(-200)).toEqual(afresh.snapshot().messages);
    }
    const order = contents(session).filter((content) => content.startsWith("a"));
    expect(order).toEqual([...order].sort((one, two) => rank(one) - rank(two)));
  });

  const rank = (content: string) => {
    const [round = "", count = ""] = content.slice(1).split(".");
    return 10 * Number(round) + Number(count);
  };

  test("who is there, who types, who has read", async () => {
    const id = fresh();
    const session = opened(connected(server, "/chat"), id);
    await joined(session);
    const other = await bob(id);
    await until(() => session.snapshot().online.includes("bob"));
    other.typing(true);
    await until(() => session.snapshot().typing.includes("bob"));
    await other.send("hello");
    await until(() => session.told.length === 1);
    expect(session.snapshot().typing).toEqual([]);
    await session.read();
    await until(() => other.snapshot().reads.alice === 1);
    other.close();
    await until(() => !session.snapshot().online.includes("bob"));
  });

  test("a session of others is refused", async () => {
    const id = fresh();
    const session = opened(connected(server, "/chat"), id);
    await joined(session);
    const stranger = opened(connected(server, "/chat", { token: () => token("mallory") }), id);
    await until(() => stranger.snapshot().status === "failed");
    expect(stranger.snapshot().error?.code).toBe("FORBIDDEN");
  });

  test("a snapshot is the same until something changes, and listeners hear once a frame", async () => {
    const session = opened(connected(server, "/chat"), fresh());
    await joined(session);
    const before = session.snapshot();
    expect(session.snapshot()).toBe(before);
    let told = 0;
    session.subscribe(() => told++);
    const other = await bob(session.sessionId);
    await Promise.all(Array.from({ length: 100 }, (_, index) => other.send(String(index))));
    await until(() => session.told.length === 100);
    expect(told).toBeLessThan(100);
    expect(session.snapshot()).not.toBe(before);
    expect(before.messages).toEqual([]);
  });
});

describe("agents", () => {
  let faq: Server;
  beforeAll(async () => {
    faq = await Server.start({ CHAT_DEFAULT_AGENT: "1", STREAM_DELAY_MS: "80" });
  });
  afterAll(() => faq.remove());

  test("an answer streams, and becomes the message that history has", async () => {
    const id = fresh();
    const session = opened(connected(faq, "/chat"), id);
    const seen = streamed(session);
    await session.send("대출 금리가 얼마인가요?");
    await until(() => session.told.length === 2);
    expect(session.snapshot().streams).toEqual([]);
    expect([...seen].length).toBeGreaterThan(2);
    const answer = session.told[1];
    for (const part of seen) expect(answer?.content.startsWith(part)).toBe(true);
    const afresh = opened(connected(faq, "/chat"), id);
    await joined(afresh);
    expect(session.snapshot().messages).toEqual(afresh.snapshot().messages);
  });

  test("a chunk that comes twice is in it once", async () => {
    const session = opened(connected(faq, "/chat"), fresh());
    repeat(session.connection, "stream_chunk");
    const seen = streamed(session);
    await session.send("대출 금리가 얼마인가요?");
    await until(() => session.told.length === 2);
    expect([...seen].length).toBeGreaterThan(2);
    for (const part of seen) expect(session.told[1]?.content.startsWith(part)).toBe(true);
  });

  test("one that goes on over a drop, or ends in it, is whole", async () => {
    for (const recovery of [true, false]) {
      const relay = await Relay.to(faq);
      const session = opened(connected(relay, "/chat", { recovery }), fresh());
      const seen = streamed(session);
      await session.send("대출 금리가 얼마인가요?");
      await until(() => session.snapshot().streams[0]?.content);
      relay.cut();
      await until(() => session.told.length === 2);
      expect(session.told[1]?.content).toContain("3.5%~5.0%");
      for (const part of seen) expect(session.told[1]?.content.startsWith(part)).toBe(true);
      expect(session.snapshot().streams).toEqual([]);
    }
  });

  test("one that is stopped", async () => {
    const session = opened(connected(faq, "/chat"), fresh());
    await session.send("대출 금리가 얼마인가요?");
    const stream = await until(() => session.snapshot().streams.find(({ content }) => content));
    await session.cancel(stream.message_id);
    await until(() => session.told.length === 2);
    expect(session.told[1]?.metadata.cancelled).toBe(true);
    expect(session.told[1]?.content).not.toContain("안내해 드립니다");
  });
});

describe("over HTTP", () => {
  test("when the socket fails, and back when it returns", async () => {
    const relay = await Relay.to(server);
    const id = fresh();
    const other = await bob(id);
    await other.send("before");
    const options = { policy: { delays: [10] }, probe: 100, token: () => token("bob", { roles: ["admin"] }) };
    relay.refuses = (head) => head.includes("/socket.io");
    const session = opened(connected(relay, "/chat", options), id, { pollInterval: 50 });
    await reached(session.connection, "fallback");
    expect(session.snapshot().status).toBe("fallback");
    await until(() => session.told.length === 1);
    expect(session.snapshot().session?.session_id).toBe(id);
    expect((await session.send("by HTTP")).seq).toBe(2);
    await other.send("by socket");
    await until(() => session.told.length === 3);
    await session.read();
    relay.refuses = () => false;
    await joined(session);
    await session.send("back");
    await until(() => other.told.length === 4);
    expect(other.told.map(({ content }) => content)).toEqual(["before", "by HTTP", "by socket", "back"]);
    expect(session.told).toEqual(other.told);
  });

  test("in a session that nobody has joined before", async () => {
    const relay = await Relay.to(server);
    relay.refuses = (head) => head.includes("/socket.io");
    const session = opened(connected(relay, "/chat", { policy: { delays: [10] } }), fresh(), { pollInterval: 50 });
    await session.send("hello");
    await session.send("again");
    await until(() => session.told.length === 2);
    expect(contents(session)).toEqual(["hello", "again"]);
  });

  test("what was sent by a socket that died with its ack is not said twice", async () => {
    const relay = await Relay.to(server);
    const options = { policy: { delays: [10] }, probe: 60_000 };
    const session = opened(connected(relay, "/chat", options), fresh(), { pollInterval: 50 });
    await joined(session);
    const witness = await bob(session.sessionId);
    relay.mutes = true;
    const sent = session.send("once");
    await until(() => witness.told.length === 1);
    relay.refuses = (head) => head.includes("/socket.io");
    relay.cut();
    relay.mutes = false;
    expect((await sent).seq).toBe(1);
    await until(() => session.told.length === 1);
    expect(witness.told.length).toBe(1);
  });

  test("another's words, and one's own of before, are not what the bank's way was told", async () => {
    const relay = await Relay.to(server);
    relay.refuses = (head) => head.includes("/socket.io");
    const other = await bob(fresh());
    const id = other.sessionId;
    await server.post(
      `/api/chat/sessions/${id}/participants`,
      { user_id: "alice" },
      token("bob", { roles: ["admin"] }),
    );
    await server.post(`/api/chat/sessions/${id}/messages`, { content: "ok" }, token());
    let refused = 0;
    intercept(relay, async (path, method) => {
      if (path.endsWith("/messages") && method === "POST" && !refused++)
        return Response.json({ error: { code: "FORBIDDEN" } }, { status: 403 });
      if (path !== "/api/v1/chat/message") return undefined;
      await other.send("ok"); // meanwhile
      throw new TypeError("the network is away");
    });
    const session = opened(connected(relay, "/chat", { policy: { delays: [10] } }), id, { pollInterval: 60_000 });
    expect((await session.send("ok")).seq).toBe(3);
    await until(() => other.told.length === 3);
    expect(other.told.map(({ sender_id }) => sender_id)).toEqual(["alice", "bob", "alice"]);
  });

  test("not for one that is refused, or does not want it", async () => {
    const refused = opened(connected(server, "/chat", { token: () => "garbage" }), fresh());
    await until(() => refused.snapshot().status === "failed");
    expect(refused.connection.state).toBe("failed");
    expect(refused.snapshot().error?.code).toBe("TOKEN_INVALID");
    const without = connected({ url: "http://127.0.0.1:1" }, "/chat", { policy: { delays: [10] } });
    opened(without, fresh(), { fallback: false });
    await reached(without, "failed");
  });
});

describe("what no server should say", () => {
  test("a message far ahead of all others is asked for once, and then forgotten", async () => {
    const session = opened(connected(server, "/chat"), fresh());
    await joined(session);
    await session.send("one");
    let joins = 0;
    const call = session.connection.call.bind(session.connection) as (...of: unknown[]) => Promise<never>;
    session.connection.call = (...of: unknown[]) => {
      if (of[0] === "join") joins++;
      return call(...of);
    };
    const message = session.snapshot().messages[0];
    lie(session.connection, "message", { ...message, message_id: "far", seq: 1e9 });
    lie(session.connection, "message", { ...message, message_id: "none", seq: undefined });
    await until(() => joins === 1);
    await session.send("two");
    await new Promise((resolve) => setTimeout(resolve, 1500)); // five times as long as a gap is waited for
    expect(joins).toBe(1);
    expect(contents(session)).toEqual(["one", "two"]);
  });

  test("how long to wait, if it is no time at all or longer than any timer", () => {
    expect(AtriumError.from({ code: "RATE_LIMITED", retry_after: -1 }).retryAfter).toBeUndefined();
    expect(AtriumError.from({ code: "RATE_LIMITED", retry_after: "soon" }).retryAfter).toBeUndefined();
    expect(AtriumError.from({ code: "RATE_LIMITED", retry_after: 1e15 }).retryAfter).toBe(2 ** 31 - 1);
    expect(AtriumError.from({ code: { toString: 1 } }).code).toBe("REFUSED");
  });
});
