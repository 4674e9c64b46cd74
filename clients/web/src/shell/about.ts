/** What the server says it is (`GET /api/about`), asked once a page. */
import { useSyncExternalStore } from "react";
import { request } from "./http";

export interface About {
  readonly service: string;
  readonly version: string;
  readonly debug: boolean;
  readonly namespaces: readonly { readonly path: string; readonly token: "required" | "optional" }[];
}

let about: About | null = null;
const listeners = new Set<() => void>();

const load = async (delay = 1000): Promise<void> => {
  try {
    about = await request<About>("/api/about", { anonymous: true });
    for (const listener of listeners) listener();
  } catch {
    setTimeout(() => void load(Math.min(delay * 2, 30_000)), delay); // it starts, or is away
  }
};
void load();

/** Null until it is known. */
export const useAbout = (): About | null =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => about,
  );
