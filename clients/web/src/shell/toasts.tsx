/** Short news that goes away by itself. A screen reader hears it; a failure stays longer. */
import { AtriumError } from "atrium-client";
import { useId, useLayoutEffect, useSyncExternalStore } from "react";

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: "good" | "bad" | "info";
}

const MOST = 4;
const SHOWN_MS = { good: 4000, info: 5000, bad: 9000 };

let toasts: readonly Toast[] = [];
let last = 0;
/** Of the open dialogs, the topmost last: what is not in it is dimmed, and hidden from screen readers. */
let dialogs: readonly string[] = [];
const listeners = new Set<() => void>();

const change = (next: readonly Toast[], open = dialogs): void => {
  toasts = next;
  dialogs = open;
  for (const listener of listeners) listener();
};

/** Stays `milliseconds`, or as long as its kind does. */
export const tell = (text: string, kind: Toast["kind"] = "info", milliseconds = SHOWN_MS[kind]): void => {
  const id = ++last;
  change([...toasts.filter((each) => each.text !== text), { id, text, kind }].slice(-MOST));
  setTimeout(() => change(toasts.filter((each) => each.id !== id)), milliseconds);
};

export const tellError = (error: unknown): void =>
  tell(error instanceof AtriumError ? `${error.message} (${error.code})` : String(error), "bad");

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

const NONE: readonly Toast[] = [];

/** Of the page, or `inDialog`; only those on top are drawn. */
export function Toasts({ inDialog = false }: { inDialog?: boolean }) {
  const id = useId();
  useLayoutEffect(() => {
    if (!inDialog) return;
    change(toasts, [...dialogs, id]);
    return () =>
      change(
        toasts,
        dialogs.filter((each) => each !== id),
      );
  }, [inDialog, id]);
  const shown = useSyncExternalStore(subscribe, () => (dialogs.at(-1) === (inDialog ? id : undefined) ? toasts : NONE));
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
