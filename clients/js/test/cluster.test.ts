// Two nodes over a real Redis, and a client that finds itself on the other one.
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openChannel, openSession } from "../src/index.js";
import { connected, reached, until } from "./support/clients.js";
import { redis } from "./support/redis.js";
import { Relay } from "./support/relay.js";
import { Server, token } from "./support/server.js";

let store: Awaited<ReturnType<typeof redis>>;
let one: Server;
let other: Server;
beforeAll(async () => {
  store = await redis();
  one = await Server.start({ REDIS_URL: store.url });
  other = await Server.start({ REDIS_URL: store.url }, one);
});
afterAll(async () => {
  await other.remove();
  await one.remove();
  await store.stop();
});

const range = (to: number) => Array.from({ length: to }, (_, index) => index + 1);
const publisher = token("desk", { roles: ["publisher"] });

for (const goes of ["terminate", "kill"] as const) {
  test(`a node's ${goes}: nothing is lost, doubled or out of order`, async () => {
    const relay = await Relay.to(one);
    const slow = { policy: { delays: goes === "kill" ? [20] : [60_000], attempts: 500 } };
    const chat = connected(relay, "/chat", slow);
    const trading = connected(relay, "/trading", slow);
    const session = openSession(chat, `roaming-${goes}`);
    const channel = openChannel(trading, "alerts");
    onTestFinished(() => {
      session.close();
      channel.close();
    });
    const said: string[] = [];
    const alerts: number[] = [];
    session.onMessage(({ content }) => said.push(content));
    await until(() => channel.snapshot().status === "subscribed");
    channel.onMessage(({ data }) => alerts.push(data.n));
    await until(() => session.snapshot().status === "joined");
    const ids = [chat.id, trading.id];

    const sending = range(60).map((n) => session.send(String(n)));
    const publishing = (async () => {
      for (const n of range(30)) await other.post("/api/channels/alerts/messages", { data: { n } }, publisher);
    })();
    await until(() => said.length > 5);
    relay.target = other;
    const gone = one[goes](); // of a drained node's clients each comes back at its own time, not its policy's
    await Promise.all([...sending, publishing, gone]);
    await Promise.all([reached(chat, "connected"), reached(trading, "connected")]);
    await until(() => said.length === 60 && alerts.length === 30);
    expect(said).toEqual(range(60).map(String));
    expect(alerts).toEqual(range(30));
    expect([chat.recovered, trading.recovered, chat.id, trading.id]).toEqual([true, true, ...ids]);
    expect(channel.snapshot().missed).toBe(0);
    await one.start();
  });
}
