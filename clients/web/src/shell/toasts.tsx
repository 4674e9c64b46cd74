/** Short news that goes away by itself. A screen reader hears it; a failure stays longer. */
import { AtriumError } from "atrium-client";
import { useSyncExternalStore } from "react";

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: "good" | "bad" | "info";
}

const MOST = 4;
const SHOWN_MS = { good: 4000, info: 5000, bad: 9000 };

let toasts: readonly Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

const change = (next: readonly Toast[]): void => {
  toasts = next;
  for (const listener of listeners) listener();
};

export const tell = (text: string, kind: Toast["kind"] = "info"): void => {
  const id = ++last;
  change([...toasts.filter((each) => each.text !== text), { id, text, kind }].slice(-MOST));
  setTimeout(() => change(toasts.filter((each) => each.id !== id)), SHOWN_MS[kind]);
};

export const tellError = (error: unknown): void =>
  tell(error instanceof AtriumError ? `${error.message} (${error.code})` : String(error), "bad");

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div className="toasts" role="log" aria-live="polite">
      {shown.map(({ id, text, kind }) => (
        <div key={id} className={`toast ${kind}`}>
          {text}
        </div>
      ))}
    </div>
  );
}
