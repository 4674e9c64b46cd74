// What is published: its files, its size, and that it works without the sources.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const HERE = fileURLToPath(new URL("..", import.meta.url));

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: HERE, encoding: "utf8" });
  expect(status, stdout + stderr).toBe(0);
  return stdout;
}

test("only what is built, with its types", () => {
  run("npm", "run", "build");
  const [packed] = JSON.parse(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts"));
  const files: string[] = packed.files.map(({ path }: { path: string }) => path);
  const other = files.filter((path) => !/^dist\/[a-z-]+\.(js|d\.ts)$/.test(path));
  expect(other.sort()).toEqual(["README.md", "package.json"]);
  for (const name of ["index", "http", "react"])
    expect(files).toEqual(expect.arrayContaining([`dist/${name}.js`, `dist/${name}.d.ts`]));
  const program =
    'import { connect } from "atrium-client"; import { useMonitor } from "atrium-client/react"; console.log(typeof connect, typeof useMonitor)';
  expect(run(process.execPath, "--input-type=module", "-e", program).trim()).toBe("function function");
});

test("small", () => {
  run(process.execPath, "scripts/size.mjs");
});
