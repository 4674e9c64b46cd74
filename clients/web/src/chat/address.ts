/** Which conversation the address names: `/chat?session=…`, so that Back works and a link can be given away. */
import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();

export const addressed = (): string | null => new URLSearchParams(location.search).get("session") || null;

export const addressOf = (sessionId: string | null): string =>
  sessionId === null ? location.pathname : `${location.pathname}?session=${encodeURIComponent(sessionId)}`;

export const go = (sessionId: string | null, { replace = false } = {}): void => {
  if (sessionId === addressed()) return;
  history[replace ? "replaceState" : "pushState"](null, "", addressOf(sessionId));
  for (const listener of [...listeners]) listener();
};

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    removeEventListener("popstate", listener);
  };
};

export const useAddressed = (): string | null => useSyncExternalStore(subscribe, addressed);
