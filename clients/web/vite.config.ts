import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const PAGES = ["index", "chat", "trading", "monitor", "copilot", "admin"];
const SERVER = process.env.ATRIUM_URL ?? "http://localhost:8000";
const WORTH_COMPRESSING_BYTES = 1000;
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** A `.gz` beside every text, of what was written in the end: the server compresses nothing itself. */
const gzipped: Plugin = {
  name: "gzipped",
  apply: "build",
  async writeBundle({ dir = "" }, bundle) {
    for (const name of Object.keys(bundle).filter((each) => /\.(js|css|html|svg)$/.test(each))) {
      const text = await readFile(join(dir, name));
      if (text.length > WORTH_COMPRESSING_BYTES) await writeFile(join(dir, `${name}.gz`), gzipSync(text, { level: 9 }));
    }
  },
};

export default defineConfig({
  root: at("."),
  plugins: [react(), gzipped],
  resolve: {
    alias: { "atrium-client/react": at("../js/src/react.ts"), "atrium-client": at("../js/src/index.ts") },
    dedupe: ["react", "react-dom", "socket.io-client"],
  },
  build: {
    outDir: at("../../server/pages"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the Content-Security-Policy knows no data: for scripts and styles
    modulePreload: { polyfill: false }, // every browser of the target has it
    rollupOptions: {
      input: Object.fromEntries(PAGES.map((page) => [page, at(`${page}.html`)])),
      output: { codeSplitting: { groups: [{ name: "lightweight-charts", test: /lightweight-charts|fancy-canvas/ }] } },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/files", "/socket.io", "/ws", "/health", "/healthz", "/readyz", "/asyncapi.json"].map((path) => [
        path,
        { target: SERVER, ws: true },
      ]),
    ),
  },
});
