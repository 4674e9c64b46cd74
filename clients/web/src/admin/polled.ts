/** What the server answers, asked again and again while somebody looks. */
import { AtriumError } from "atrium-client";
import { useEffect, useRef, useState } from "react";
import { request } from "../shell/http";

export interface Polled<T> {
  /** The newest answer, kept while a later one fails. */
  readonly value: T | null;
  readonly fault: AtriumError | null;
  readonly again: () => void;
}

const LONGEST_MS = 30_000;
const FINAL = new Set(["FORBIDDEN", "TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "NOT_FOUND"]);

/**
 * Every so many milliseconds, more seldom while it fails, and not while the tab is hidden. A null path asks nothing;
 * `rest` is what goes behind it this time.
 */
export const usePolled = <T>(path: string | null, every: number, rest: () => string = () => ""): Polled<T> => {
  const behind = useRef(rest);
  behind.current = rest;
  const [value, setValue] = useState<T | null>(null);
  const [fault, setFault] = useState<AtriumError | null>(null);
  const look = useRef<() => void>(() => undefined);

  useEffect(() => {
    setValue(null);
    setFault(null);
    if (path === null) return;
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asking = false;
    let pause = every;
    const ask = async (): Promise<void> => {
      clearTimeout(timer);
      if (asking || document.hidden) return;
      asking = true;
      let final = false;
      try {
        const found = await request<T>(path + behind.current(), { signal: ended.signal });
        if (ended.signal.aborted) return;
        setValue(found);
        setFault(null);
        pause = every;
      } catch (error) {
        if (ended.signal.aborted) return;
        const told = error instanceof AtriumError ? error : new AtriumError("UNREACHABLE", String(error));
        setFault(told);
        final = FINAL.has(told.code);
        pause = Math.min(LONGEST_MS, Math.max(pause * 2, told.retryAfter ?? 0));
      } finally {
        asking = false;
      }
      if (!final) timer = setTimeout(ask, pause);
    };
    look.current = () => void ask();
    document.addEventListener("visibilitychange", look.current);
    void ask();
    return () => {
      ended.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look.current);
    };
  }, [path, every]);

  return { value, fault, again: () => look.current() };
};

/** What changes with each letter typed, when nothing was typed for a moment. */
export const useSettled = <T>(value: T, after = 250): T => {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), after);
    return () => clearTimeout(timer);
  }, [value, after]);
  return settled;
};

/** `?a=1&b=2` of what is given. */
export const query = (fields: Readonly<Record<string, string | number | boolean | undefined>>): string => {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
};
