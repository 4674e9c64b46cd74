/** The last minutes of figures, one value a second: asked for whole once, then only what is newer. */
import { useEffect, useState } from "react";
import { type Polled, usePolled } from "./polled";
import type { Column, Figures } from "./types";

const KEPT_SECONDS = 300;
const EVERY_MS = 2000;

type Tree = { readonly [name: string]: Tree | Column };

const isColumn = (value: Tree | Column | undefined): value is Column => Array.isArray(value);
const gap = (length: number): Column => Array<null>(length).fill(null);

/** Columns that one of both has not are gaps there. */
const joined = (old: Tree, olds: number, newer: Tree, news: number, drop: number): Tree => {
  const result: Record<string, Tree | Column> = {};
  for (const name of new Set([...Object.keys(old), ...Object.keys(newer)])) {
    const [before, after] = [old[name], newer[name]];
    if (isColumn(before) || isColumn(after)) {
      const whole = [...(isColumn(before) ? before : gap(olds)), ...(isColumn(after) ? after : gap(news))];
      result[name] = whole.slice(drop);
    } else {
      result[name] = joined(before ?? {}, olds, after ?? {}, news, drop);
    }
  }
  return result;
};

/** `newer` may begin with what `old` has already. */
export const extended = (old: Figures, newer: Figures): Figures => {
  const last = old.t.at(-1) ?? 0;
  const news = newer.t.filter((each) => each > last);
  const t = [...old.t, ...news];
  const drop = Math.max(0, t.length - KEPT_SECONDS);
  const more = (key: "namespaces" | "all"): never =>
    joined(
      old[key] as never,
      old.t.length,
      tail(newer[key] as never, news.length) as never,
      news.length,
      drop,
    ) as never;
  return { ...newer, t: t.slice(drop), namespaces: more("namespaces"), all: more("all") };
};

const tail = (tree: Tree, length: number): Tree =>
  Object.fromEntries(
    Object.entries(tree).map(([name, value]) => [
      name,
      isColumn(value) ? value.slice(value.length - length) : tail(value, length),
    ]),
  );

export const useFigures = (wanted: boolean): { figures: Figures | null; fault: Polled<Figures>["fault"] } => {
  const [figures, setFigures] = useState<Figures | null>(null);
  const since = figures?.t.at(-1);
  const { value, fault } = usePolled<Figures>(wanted ? "/api/admin/figures" : null, EVERY_MS, () =>
    since === undefined ? `?seconds=${KEPT_SECONDS}` : `?since=${since}`,
  );
  useEffect(() => {
    if (value) setFigures((old) => (old === null ? value : extended(old, value)));
  }, [value]);
  return { figures, fault };
};
