import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
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

test("one on the shelf goes when it is over, and stays away whatever is done about it then", async () => {
  const operator = opened(server, { token: () => token("olga", { roles: ["operator"] }) });
  const watcher = opened(server);
  const notices: AlarmNotice[] = [];
  watcher.onAlarm((notice) => notices.push(notice));
  const heard = (id: string, state: AlarmNotice["state"]) =>
    until(() => notices.find((each) => each.alarm_id === id && each.state === state), 25_000);
  const { alarm_id } = await until(
    () => notices.find(({ state, kind }) => state === "raised" && kind === "error"),
    50_000,
  );
  const same = () => watcher.snapshot().alarms.find((each) => each.alarm_id === alarm_id);
  await operator.shelve(alarm_id, 5);
  await heard(alarm_id, "shelved");
  expect(same()?.shelved_by).toBe("olga");
  const over = await heard(alarm_id, "cleared");
  expect([over.shelved_until, over.cleared_at]).toEqual([expect.any(String), expect.any(String)]);
  expect(same()).toBeUndefined();
  await operator.acknowledge(alarm_id);
  await heard(alarm_id, "acknowledged");
  expect(same()).toBeUndefined();
}, 90_000);

test("what is told while alarms are listed is not forgotten", async () => {
  const monitor = opened(server);
  await until(() => monitor.snapshot().status === "connected");
  const seen = { equipment_code: "c", equipment_name: null, kind: "error", flapping: false, occurrences: 1 } as const;
  const at = "2026-11-22T00:00:00.000Z";
  const notice = (alarm_id: string, state: "raised" | "cleared"): AlarmNotice => {
    const over = state === "cleared" ? { cleared_at: at } : {};
    return { ...seen, alarm_id, state, status: null, previous_status: null, timestamp: at, raised_at: at, ...over };
  };
  const hear = (...told: AlarmNotice[]) => {
    for (const each of told)
      for (const listener of monitor.connection.socket.listeners("equipment_alarm")) listener(each);
  };
  const ids = () => monitor.snapshot().alarms.map(({ alarm_id }) => alarm_id);
  await monitor.refresh();
  const call = vi.spyOn(monitor.connection, "call");
  const { state: _, status: __, previous_status: ___, timestamp: ____, ...old } = notice("old", "raised");
  call.mockImplementationOnce(async () => {
    hear(notice("new", "raised"), notice("old", "cleared"));
    return { alarms: [old] } as never;
  });
  await monitor.refresh();
  expect(ids()).toEqual(["new"]);
});
