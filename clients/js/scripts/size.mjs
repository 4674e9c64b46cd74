// What the client adds to a page that has socket.io-client, and React where that uses it: the first load of each kind
// of page, minified and gzipped, and what it loads later. Fails above the limit.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST = 6 * 1024;
const PAGES = {
  "connect alone": 'export { connect } from "./src/index.ts";',
  chat: 'export { connect, openSession } from "./src/index.ts";',
  trading: 'export { connect, openChannel } from "./src/index.ts";',
  monitor: 'export { openMonitor } from "./src/index.ts";',
  "chat with React": 'export { useConnection, useSession } from "./src/react.ts";',
  "all of it": 'export * from "./src/index.ts"; export * from "./src/react.ts";',
};

for (const [page, contents] of Object.entries(PAGES)) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: new URL("..", import.meta.url).pathname },
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    outdir: "out",
    format: "esm",
    target: "es2022",
    external: ["socket.io-client", "react"],
  });
  const loaded = new Map(outputFiles.map(({ path, contents, text }) => [path.split("/").pop(), { contents, text }]));
  const first = new Set(["stdin.js"]);
  for (const name of first) {
    for (const [, other] of loaded.get(name).text.matchAll(/(?:from|import)"\.\/([^"]+)"/g)) first.add(other);
  }
  const size = (names) => gzipSync(names.map((name) => loaded.get(name).text).join("\n"), { level: 9 }).length;
  const later = [...loaded.keys()].filter((name) => !first.has(name));
  const total = size([...first]);
  console.log(`${page}: ${total} bytes${later.length ? `, later ${size(later)}` : ""}`);
  if (total > MOST && page !== "all of it") {
    console.error(`more than ${MOST}`);
    process.exitCode = 1;
  }
}
