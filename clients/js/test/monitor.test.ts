import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type AlarmNotice, type Monitor, type MonitorOptions, openMonitor } from "../src/index.js";
import { cut, until } from "./support/clients.js";
import { Server, token } from "./support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start({ MONITOR_PERIOD: "0.1" });
});
afterAll(() => server.remove());

function opened(of: { url: string }, options: MonitorOptions = {}): Monitor {
  const quick = { delays: [20], attempts: 5 };
  const monitor = openMonitor({ url: of.url, policy: quick, socket: { transports: ["websocket"] }, ...options });
  onTestFinished(() => monitor.close());
  return monitor;
}

test("seventeen machines, again and again", async () => {
  const monitor = opened(server);
  expect(monitor.snapshot()).toMatchObject({ status: "reconnecting", equipmentData: [] });
  await until(() => monitor.snapshot().equipmentData.length === 17);
  const { status, timestamp, equipmentData } = monitor.snapshot();
  expect(status).toBe("connected");
  expect(equipmentData[0]?.equipment_code).toHaveLength(14);
  let told = 0;
  monitor.subscribe(() => told++);
  await until(() => told >= 3);
  expect(monitor.snapshot().timestamp).not.toBe(timestamp);
});

test("five tries in vain, and all are without connection; by hand they return", async () => {
  const mortal = await Server.start({ MONITOR_PERIOD: "0.1" });
  onTestFinished(() => mortal.remove());
  const monitor = opened(mortal);
  await until(() => monitor.snapshot().equipmentData.length === 17);
  await mortal.kill();
  await until(() => monitor.snapshot().status === "reconnecting");
  expect(monitor.snapshot().equipmentData.some(({ tags }) => tags.connection)).toBe(true);
  await until(() => monitor.snapshot().status === "failed");
  expect(monitor.snapshot().equipmentData.map(({ tags }) => tags.connection)).toEqual(Array(17).fill(false));
  expect(monitor.snapshot().error?.code).toBe("UNREACHABLE");
  await mortal.start();
  monitor.retry();
  await until(() => monitor.snapshot().status === "connected");
  await until(() => monitor.snapshot().equipmentData.some(({ tags }) => tags.connection));
});

test("only some machines, also after a drop", async () => {
  const all = opened(server);
  await until(() => all.snapshot().equipmentData.length === 17);
  const [first, second] = all.snapshot().equipmentData.map(({ equipment_code }) => equipment_code) as [string, string];
  const few = opened(server, { filter: { equipment: [first] }, recovery: false });
  const codes = () => few.snapshot().equipmentData.map(({ equipment_code }) => equipment_code);
  await until(() => codes().length === 1);
  cut(few.connection);
  await until(() => few.snapshot().status === "reconnecting");
  await until(() => few.snapshot().status === "connected");
  await until(() => codes().length === 1);
  await few.narrow({ equipment: [first, second] });
  await until(() => codes().length === 2);
  await few.narrow();
  await until(() => codes().length === 17);
  await expect(few.narrow({ equipment: ["nowhere"] })).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
});

test("alarms: those that are open, and what becomes of them", async () => {
  const operator = opened(server, { token: () => token("olga", { roles: ["operator"] }) });
  const notices: AlarmNotice[] = [];
  operator.onAlarm((notice) => notices.push(notice));
  const alarm = await until(() => operator.snapshot().alarms.find(({ kind }) => kind === "error"), 25_000);
  const watcher = opened(server);
  const same = () => watcher.snapshot().alarms.find(({ alarm_id }) => alarm_id === alarm.alarm_id);
  await until(same);
  await operator.acknowledge(alarm.alarm_id, "on my way");
  await until(() => same()?.acknowledged_by === "olga" || notices.some(({ state }) => state === "cleared"));
  await expect(watcher.acknowledge(alarm.alarm_id)).rejects.toMatchObject({ code: "FORBIDDEN" });
  await until(
    () => !same() || notices.every(({ alarm_id, state }) => alarm_id !== alarm.alarm_id || state !== "cleared"),
  );
});
