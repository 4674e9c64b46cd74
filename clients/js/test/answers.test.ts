import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { AtriumError, Connection, wire } from "../src/index.js";
import { connected, cut, reached, until } from "./support/clients.js";
import { Relay } from "./support/relay.js";
import { Server } from "./support/server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start({ COPILOT_DATA_TIMEOUT: "2", COPILOT_PERSON_TIMEOUT: "2", RATE_LIMIT_ENABLED: "false" });
});
afterAll(() => server.remove());

const DATASETS = [{ name: "costs", description: "Cloud cost by service", columns: ["service", "cost"] }];
const ROWS = [
  { service: "EC2", cost: 30 },
  { service: "S3", cost: 10 },
];
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** What becomes of a query. */
function outcome(connection: Connection<"/copilot">) {
  const responses: wire.CopilotResponse[] = [];
  const errors: wire.CopilotQueryError[] = [];
  connection.on("response", (response) => responses.push(response));
  connection.on("error", (error) => errors.push(error));
  return { responses, errors };
}

test("answers, at once or later", async () => {
  const connection = connected(server, "/copilot");
  const told = outcome(connection);
  connection.answer("request_available_data", () => ({ datasets: DATASETS }));
  connection.answer("request_api", async ({ dataset }) => {
    expect(dataset).toBe("costs");
    await pause(50);
    return { data: ROWS };
  });
  await connection.call("query", { text: "top 2 services by cost" });
  await until(() => told.responses.length === 1);
  expect(told.responses[0]?.text).toContain("EC2 30");
  expect(told.errors).toEqual([]);
});

test("a drop while it is being answered: asked again, handled once", async () => {
  for (const recovery of [true, false]) {
    const relay = await Relay.to(server);
    const connection = connected(relay, "/copilot", { recovery });
    const told = outcome(connection);
    let handled = 0;
    connection.answer("request_available_data", async () => {
      handled++;
      relay.cut();
      await until(() => connection.state === "reconnecting");
      if (recovery) await reached(connection, "connected");
      return { datasets: DATASETS };
    });
    connection.answer("request_api", () => ({ data: ROWS }));
    await connection.call("query", { text: "top 2 services by cost" });
    await until(() => told.responses.length === 1);
    expect([handled, told.errors]).toEqual([1, []]);
  }
});

test("too late: the handler is told, and nothing is sent", async () => {
  const connection = connected(server, "/copilot");
  const told = outcome(connection);
  const late: [string, string][] = [];
  let aborted = false;
  connection.answer(
    "request_available_data",
    (_, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          aborted = true;
          resolve({ datasets: DATASETS });
        });
      }),
    { late: (request, error) => late.push([request.query, error.code]) },
  );
  await connection.call("query", { text: "top 2 services by cost" });
  await until(() => told.errors.length === 1);
  await connection.call("ping"); // whatever was sent has been handled
  expect([aborted, late]).toEqual([true, [["top 2 services by cost", "CLIENT_TIMEOUT"]]]);
  expect(told.errors.map(({ code }) => code)).toEqual(["CLIENT_TIMEOUT"]);
});

test("a handler that fails", async () => {
  const connection = connected(server, "/copilot");
  const told = outcome(connection);
  const failed: AtriumError[] = [];
  connection.answer(
    "request_available_data",
    () => {
      throw new Error("no database");
    },
    { late: (_, error) => failed.push(error) },
  );
  await connection.call("query", { text: "top 2 services by cost" });
  await until(() => told.errors.length === 1);
  expect(failed.map(({ code, message }) => [code, message])).toEqual([["INTERNAL", "Error: no database"]]);
});

test("a person's answer in a dialog that survives a drop", async () => {
  const connection = connected(server, "/copilot");
  const told = outcome(connection);
  const two = ["costs_seoul", "costs_busan"].map((name) => ({ ...DATASETS[0], name }));
  connection.answer("request_available_data", () => ({ datasets: two }));
  connection.answer("request_api", () => ({ data: ROWS }));
  let dialogs = 0;
  let press: (answer: string) => void = () => {};
  connection.answer("clarification_request", ({ options }) => {
    dialogs++;
    return new Promise((resolve) => {
      press = (answer) => resolve({ answer: answer || (options[0] ?? "") });
    });
  });
  onTestFinished(() => press(""));
  await connection.call("query", { text: "top 2 services by cost" });
  await until(() => dialogs === 1);
  cut(connection);
  await until(() => connection.state === "reconnecting");
  await reached(connection, "connected");
  press("");
  await until(() => told.responses.length === 1);
  expect([dialogs, told.errors]).toEqual([1, []]);
});
