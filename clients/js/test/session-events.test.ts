// What becomes of a session and of what is said in it, beside its messages.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { http } from "../src/http.js";
import { type ChatSession, type Connection, openSession, type SessionOptions } from "../src/index.js";
import { connected, cut, MemoryStorage, reached, until } from "./support/clients.js";
import { Relay } from "./support/relay.js";
import { Server, token } from "./support/server.js";

const ROOT = join(import.meta.dirname, "../../..");
const HALF_AN_ANSWER = `
import asyncio

from server.namespaces.chat.agents.backend import Verdict

class Backend:
    def __init__(self, config, options):
        pass

    async def answer(self, question):
        yield "half an "
        await asyncio.sleep(0.2)
        if question.text == "break":
            raise RuntimeError("the model is away")
        yield Verdict()
`;

let server: Server;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "atrium-js-agents-"));
  cpSync(join(ROOT, "config"), join(home, "config"), { recursive: true });
  writeFileSync(join(home, "half_an_answer.py"), HALF_AN_ANSWER);
  const agent = '[[agents]]\nid = 1\nname = "Half"\nbackend = "half_an_answer.Backend"\n';
  writeFileSync(join(home, "config/agents.toml"), agent);
  server = await Server.start({ CONFIG_DIR: join(home, "config"), PYTHONPATH: `${ROOT}:${home}` });
});
afterAll(async () => {
  await server.remove();
  rmSync(home, { recursive: true });
});

let number = 0;
const fresh = () => `events-${++number}`;
const admin = { token: () => token("bob", { roles: ["admin"] }) };

async function opened(connection: Connection<"/chat">, id: string, options: SessionOptions = {}): Promise<ChatSession> {
  const session = openSession(connection, id, options);
  onTestFinished(() => session.close());
  await until(() => session.snapshot().status === "joined");
  return session;
}

const told = (session: ChatSession) => session.snapshot().session;
const path = (session: ChatSession, rest = "") => `/api/chat/sessions/${session.sessionId}${rest}`;

describe("a session's snapshot says what became of it:", () => {
  test("who is invited, and who is removed", async () => {
    const session = await opened(connected(server, "/chat"), fresh());
    expect(session.snapshot().participants).toEqual(["alice"]);
    await http(session.connection, "POST", path(session, "/participants"), { user_id: "carol" });
    await until(() => session.snapshot().participants.includes("carol"));
    expect(told(session)?.participants).toEqual(["alice", "carol"]);
    await http(session.connection, "DELETE", path(session, "/participants/carol"));
    await until(() => !session.snapshot().participants.includes("carol"));
  });

  test("a person is asked for, takes over, and hands back", async () => {
    const session = await opened(connected(server, "/chat"), fresh());
    const other = await opened(connected(server, "/chat", admin), session.sessionId);
    const reason = "it is complicated";
    await session.connection.call("handover_request", { session_id: session.sessionId, reason });
    await until(() => told(session)?.handover && told(other)?.handover);
    expect(told(other)?.handover).toMatchObject({ reason, requested_by: "alice", keywords: [] });
    expect(told(session)).toEqual(await http(session.connection, "GET", path(session)));
    await other.connection.call("handover_accept", { session_id: session.sessionId });
    await until(() => told(session)?.operator_id === "bob");
    expect(told(session)?.handover).toBeNull();
    await other.connection.call("handover_return", { session_id: session.sessionId });
    await until(() => told(session)?.operator_id === null);
  });

  test("a person is asked for, where HTTP is not to be had", async () => {
    const relay = await Relay.to(server);
    relay.refuses = (head) => !head.includes("/socket.io");
    const session = await opened(connected(relay, "/chat"), fresh());
    await session.connection.call("handover_request", { session_id: session.sessionId });
    await until(() => told(session)?.handover);
    expect(told(session)?.handover?.requested_by).toBe("alice");
  });

  test("it is archived, and nobody is asked for any more", async () => {
    const session = await opened(connected(server, "/chat"), fresh());
    await session.connection.call("handover_request", { session_id: session.sessionId });
    await until(() => told(session)?.handover);
    await http(session.connection, "DELETE", path(session));
    await until(() => told(session)?.status === "archived");
    expect(told(session)?.handover).toBeNull();
  });
});

describe("an answer that breaks", () => {
  test("stays with its error until the next message", async () => {
    const agent = await http(connected(server, "/chat"), "POST", "/api/chat/sessions", { agent_id: 1 });
    const session = await opened(connected(server, "/chat"), agent.session_id);
    await session.send("break");
    const broken = await until(() => session.snapshot().streams.find(({ error }) => error));
    expect(broken).toMatchObject({ sender_id: "1", content: "half an ", error: { code: "INTERNAL" } });
    expect(session.snapshot().messages.length).toBe(1);
    await session.send("go on");
    await until(() => session.snapshot().messages.length === 3);
    expect(session.snapshot().streams).toEqual([]);
  });
});

describe("what is too big", () => {
  const limits = { WS_MESSAGE_SIZE_LIMIT: "2000", WS_MESSAGE_SIZE_LIMIT_TRADING: "2000" };
  let strict: Server;
  beforeAll(async () => {
    strict = await Server.start(limits);
  });
  afterAll(() => strict.remove());

  test.each([3000, 70_000, 2_000_000])("is refused, not sent again, and others go on: %i characters", async (size) => {
    const connection = connected(strict, "/chat");
    let drops = 0;
    connection.socket.on("disconnect", () => drops++);
    const session = await opened(connection, fresh());
    const refused = session.send("x".repeat(size));
    const after = session.send("small");
    await expect(refused).rejects.toMatchObject({ code: "MESSAGE_TOO_BIG" });
    expect((await after).seq).toBe(1);
    expect(drops).toBe(1);
    expect(session.snapshot().pending.map(({ error }) => error?.code)).toEqual(["MESSAGE_TOO_BIG"]);
  });

  test("by polling, too", async () => {
    const connection = connected(strict, "/chat", { socket: { transports: ["polling"] } });
    const session = await opened(connection, fresh());
    await expect(session.send("x".repeat(2_000_000))).rejects.toMatchObject({ code: "MESSAGE_TOO_BIG" });
    expect((await session.send("small")).seq).toBe(1);
  });

  test("is not said again after a reload, unless one wants it", async () => {
    const storage = new MemoryStorage();
    const id = fresh();
    const before = await opened(connected(strict, "/chat"), id, { storage });
    await expect(before.send("x".repeat(3000))).rejects.toThrow();
    before.close();
    let drops = 0;
    const connection = connected(strict, "/chat");
    connection.socket.on("disconnect", () => drops++);
    const session = await opened(connection, id, { storage });
    expect((await session.send("small")).seq).toBe(1);
    expect(drops).toBe(0);
    const [kept] = session.snapshot().pending;
    expect(kept?.error?.code).toBe("MESSAGE_TOO_BIG");
    session.retry(kept?.client_message_id ?? "");
    await until(() => drops === 1 && session.snapshot().pending[0]?.error);
    session.discard(kept?.client_message_id ?? "");
    expect(storage.length).toBe(0);
  });
});

test("over HTTP, what is stored counts as sent, though its answer broke", async () => {
  const environ = { CONFIG_DIR: join(home, "config"), PYTHONPATH: `${ROOT}:${home}`, CHAT_DEFAULT_AGENT: "1" };
  const answering = await Server.start(environ);
  onTestFinished(() => answering.remove());
  const relay = await Relay.to(answering);
  relay.refuses = (head) => head.includes("/socket.io");
  const connection = connected(relay, "/chat", { policy: { delays: [10] } });
  const session = openSession(connection, fresh(), { pollInterval: 20 });
  onTestFinished(() => session.close());
  expect((await session.send("break")).seq).toBe(1);
  await until(() => session.snapshot().messages.length > 0);
  expect(session.snapshot().messages.map(({ content }) => content)).toEqual(["break"]);
  expect(session.snapshot().pending).toEqual([]);
});

test("over HTTP, what is edited and deleted, and what became of the session", async () => {
  const relay = await Relay.to(server);
  const other = await opened(connected(server, "/chat", admin), fresh());
  const [edited, deleted] = [await other.send("typo"), await other.send("regretted")];
  const session = await opened(
    connected(relay, "/chat", { ...admin, policy: { delays: [10] }, probe: 60_000 }),
    other.sessionId,
    { pollInterval: 20 },
  );
  relay.refuses = (head) => head.includes("/socket.io");
  cut(session.connection);
  await reached(session.connection, "fallback");
  await other.edit(edited.message_id, "fixed");
  await other.delete(deleted.message_id);
  await http(other.connection, "POST", path(other, "/participants"), { user_id: "carol" });
  await until(
    () => session.snapshot().messages[0]?.content === "fixed" && session.snapshot().participants.length === 2,
  );
  expect(session.snapshot().messages).toEqual(other.snapshot().messages);
});

test("away for longer than it keeps: the newest take the place of all others", async () => {
  const session = await opened(connected(server, "/chat", { recovery: false }), fresh(), { history: 50 });
  const other = await opened(connected(server, "/chat", admin), session.sessionId);
  await session.send("first");
  cut(session.connection);
  await reached(session.connection, "reconnecting");
  const said = { session_id: session.sessionId, content: "more" };
  await Promise.all(Array.from({ length: 300 }, () => other.connection.call("message", said)));
  await until(() => session.snapshot().lastSeq === 301);
  const { messages, hasOlder } = session.snapshot();
  expect(hasOlder).toBe(true);
  expect(messages.map(({ seq }) => seq)).toEqual(
    Array.from({ length: messages.length }, (_, i) => i + 302 - messages.length),
  );
});
