// Real servers, each a process on a port of its own, ended with the test file that started it.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { copyFileSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";

const ROOT = join(import.meta.dirname, "../../../..");
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
const SECRET = "a test secret that is long enough for HS256";
const UNLIMITED = "1000000";
const PATIENCE_MS = 30_000;

type Environ = Record<string, string>;

function environment(home: string, more: Environ): Environ {
  const { PATH = "", HOME = "", LANG = "C.UTF-8" } = process.env;
  return {
    PATH,
    HOME,
    LANG,
    PYTHONPATH: ROOT,
    HOST: "127.0.0.1",
    JWT_SECRET_KEY: SECRET,
    LOG_LEVEL: "WARNING",
    CONFIG_DIR: join(ROOT, "config"),
    DATA_DIR: home,
    DATABASE_URL: `sqlite+aiosqlite:///${join(home, "atrium.db")}`,
    CHAT_DEFAULT_AGENT: "",
    TRADING_FEED: "none",
    STREAM_DELAY_MS: "0",
    RATE_LIMIT_EVENTS_PER_SECOND: UNLIMITED,
    RATE_LIMIT_MESSAGES_PER_MINUTE: UNLIMITED,
    RATE_LIMIT_CONNECTS_PER_SECOND: UNLIMITED,
    ...more,
  };
}

/** An empty database at the newest schema, in a folder of its own; migrating takes seconds, copying does not. */
export function migrated(): { home: string; remove: () => void } {
  const home = mkdtempSync(join(tmpdir(), "atrium-js-"));
  const done = spawnSync(PYTHON, ["-m", "server", "migrate"], {
    cwd: home,
    env: environment(home, {}),
    encoding: "utf8",
  });
  if (done.status !== 0) throw new Error(`${done.stdout}${done.stderr}`);
  return { home, remove: () => rmSync(home, { recursive: true, force: true }) };
}

export function token(sub = "alice", { roles = [] as string[], lifetime = 3600 } = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub, roles, iat: now, exp: now + lifetime, jti: randomBytes(4).toString("hex") };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

export async function freePort(): Promise<number> {
  // Below the range that the kernel hands to clients: a port that is left for a while is not taken meanwhile.
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer().once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** One node. It may be killed and started again on its port, with its database. */
export class Server {
  #process: ChildProcess | undefined;
  readonly url: string;

  private constructor(
    readonly port: number,
    private readonly home: string,
    private readonly environ: Environ,
    private readonly ownsHome: boolean,
  ) {
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Returns once it answers. `of`: another node, whose database it shares. */
  static async start(environ: Environ = {}, of?: Server): Promise<Server> {
    const server = await Server.later(environ, of);
    await server.start();
    return server;
  }

  /** Not yet started. */
  static async later(environ: Environ = {}, of?: Server): Promise<Server> {
    const home = of?.home ?? mkdtempSync(join(tmpdir(), "atrium-js-"));
    if (!of) copyFileSync(join(inject("migrated"), "atrium.db"), join(home, "atrium.db"));
    return new Server(await freePort(), home, environ, !of);
  }

  async start(more: Environ = {}): Promise<void> {
    const log = openSync(this.log, "a");
    const env = { ...environment(this.home, this.environ), PORT: String(this.port), ...more };
    const child = spawn(PYTHON, ["-m", "server", "serve"], { cwd: this.home, env, stdio: ["ignore", log, log] });
    this.#process = child;
    const until = Date.now() + PATIENCE_MS;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`it ended:\n${readFileSync(this.log, "utf8")}`);
      try {
        if ((await fetch(`${this.url}/readyz`)).ok) return;
      } catch {
        // nothing announces that a port was opened
      }
      if (Date.now() > until) throw new Error(`it does not answer:\n${readFileSync(this.log, "utf8")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** It drains first. */
  terminate(): Promise<void> {
    return this.#end("SIGTERM");
  }

  async remove(): Promise<void> {
    await this.kill();
    if (this.ownsHome) rmSync(this.home, { recursive: true, force: true });
  }

  get log(): string {
    return join(this.home, `node-${this.port}.log`);
  }

  async post(path: string, body: object, as: string): Promise<any> {
    const answer = await fetch(this.url + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${as}` },
      body: JSON.stringify(body),
    });
    return answer.json();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }
}
