import { AtriumError } from "./errors.js";

/** What a page does not load first: loaded once, and again where that failed. Rejects with AtriumError. */
export function lazy<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | undefined;
  return () => {
    loaded ??= load().catch((cause) => {
      loaded = undefined;
      throw new AtriumError("UNREACHABLE", String(cause), { cause });
    });
    return loaded;
  };
}
