// A Redis of the test's own, empty.
import { spawn } from "node:child_process";
import { connect as dial } from "node:net";
import { freePort } from "./server.js";

export async function redis(): Promise<{ url: string; stop: () => Promise<void> }> {
  const port = await freePort();
  const child = spawn("redis-server", ["--port", String(port), "--save", "", "--appendonly", "no"], {
    stdio: "ignore",
  });
  for (;;) {
    const up = await new Promise<boolean>((resolve) => {
      const probe = dial(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      probe.once("connect", () => probe.destroy());
    });
    if (up) break;
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 20)); // nothing announces that it listens
  }
  const stop = () =>
    new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.kill("SIGKILL");
    });
  return { url: `redis://127.0.0.1:${port}/0`, stop };
}
