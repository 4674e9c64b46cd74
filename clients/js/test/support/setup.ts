import type { TestProject } from "vitest/node";
import { migrated } from "./server.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** A folder with a migrated database, to copy. */
    migrated: string;
  }
}

export default function setup(project: TestProject): () => void {
  const { home, remove } = migrated();
  project.provide("migrated", home);
  return remove;
}
