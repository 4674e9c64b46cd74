// @vitest-environment jsdom
import { createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { useChannel, useConnection, useMonitor, useSession } from "../src/react.js";
import { until } from "./support/clients.js";
import { Server, token } from "./support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start({ MONITOR_PERIOD: "0.1", CORS_ORIGINS: "*" });
});
afterAll(() => server.remove());

const quick = { delays: [20], attempts: 500 };
const socket = { transports: ["websocket"] };

interface Using<T> {
  hook: () => T;
  result: { current: T; renders: number };
}

function Component({ hook, result }: Using<unknown>): null {
  result.current = hook();
  result.renders++;
  return null;
}

/** Renders a component that uses a hook; its newest result. */
async function using<T>(hook: () => T) {
  const result = { current: undefined as T, renders: 0 };
  const root = createRoot(document.createElement("div"));
  const render = () => {
    const { renders } = result;
    root.render(createElement(StrictMode, null, createElement(Component, { hook, result } as Using<unknown>)));
    return until(() => result.renders > renders);
  };
  const unmount = () => root.unmount();
  onTestFinished(unmount);
  await render();
  return Object.assign(result, { render, unmount });
}

const seen = (check: () => unknown) => until(check as () => true);

test("useMonitor: status and equipmentData, as the seed's hook had it; gray when the server is gone", async () => {
  const mortal = await Server.start({ MONITOR_PERIOD: "0.1", CORS_ORIGINS: "*" });
  onTestFinished(() => mortal.remove());
  const options = { url: mortal.url, policy: { delays: [20, 20] }, socket };
  const hook = await using(() => useMonitor(options));
  expect(hook.current).toMatchObject({ status: "reconnecting", equipmentData: [] });
  await seen(() => hook.current.status === "connected" && hook.current.equipmentData.length === 17);
  await mortal.kill();
  await seen(() => hook.current.status === "failed");
  expect(hook.current.equipmentData.some(({ tags }) => tags.connection)).toBe(false);
});

test("useConnection and useSession: what is said, over another session and to the end", async () => {
  let id = "react-1";
  const hook = await using(() => {
    const options = { url: server.url, namespace: "/chat" as const, policy: quick, socket, token: () => token() };
    const { connection, state } = useConnection(options);
    return { connection, state, ...useSession(connection, id) };
  });
  await seen(() => hook.current.state === "connected" && hook.current.snapshot?.status === "joined");
  const { connection } = hook.current;
  await hook.current.session?.send("hello");
  await seen(() => hook.current.snapshot?.messages.length === 1);
  id = "react-2";
  await hook.render();
  await seen(() => hook.current.snapshot?.status === "joined" && hook.current.session?.sessionId === "react-2");
  expect(hook.current.snapshot?.messages).toEqual([]);
  expect(hook.current.connection).toBe(connection); // new options of the same meaning are no new connection
  hook.unmount();
  await until(() => connection?.state === "closed");
});

test("useChannel: a thousand messages are few renders", async () => {
  const options = { url: server.url, namespace: "/trading" as const, policy: quick, socket, token: () => token() };
  const hook = await using(() => useChannel(useConnection(options).connection, "stock_updates"));
  await seen(() => hook.current.snapshot?.status === "subscribed");
  const before = hook.renders;
  const messages = Array.from({ length: 1000 }, (_, n) => ({ data: { n } }));
  await server.post("/api/channels/stock_updates/messages", { messages }, token("desk", { roles: ["publisher"] }));
  await seen(() => hook.current.snapshot?.received === 1000);
  expect(hook.renders - before).toBeLessThan(100);
  expect(hook.current.snapshot?.messages).toHaveLength(200);
});
