import { type ReactNode, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Virtualizer, type VirtualizerHandle } from "virtua";
import { useWords } from "../shell/words";
import type { Row } from "./rows";
import { WORDS } from "./words";

/** To be brought into sight, once for each object. */
export interface Target {
  readonly seq: number;
}

const NEAR_END = 48; // pixels
const NEAR_START = 900;
const MEASURED_FRAMES = 3;
const MEASURED_MS = 200; // a page that is not looked at has no frames
const MEANT_MS = 400; // after a wheel, a touch or a key the scrolling is a person's

const seqOf = (row: Row | undefined): number | undefined => (row?.kind === "message" ? row.message.seq : undefined);

/** The lines of a session, as many as there is room for. It stays at the end while it is there, and where it is else. */
export function History({
  rows,
  hasOlder,
  loadOlder,
  target,
  onEnd,
  draw,
}: {
  rows: readonly Row[];
  hasOlder: boolean;
  loadOlder: () => Promise<unknown>;
  target: Target | null;
  /** All is seen, and the page is looked at. */
  onEnd: () => void;
  draw: (row: Row) => ReactNode;
}) {
  const t = useWords(WORDS);
  const frame = useRef<HTMLElement>(null);
  const list = useRef<VirtualizerHandle>(null);
  const sticks = useRef(true);
  const began = useRef(false);
  const last = useRef({ top: 0, height: 0, view: 0, meant: 0, sent: "" });
  const loading = useRef(false);
  const handled = useRef<Target | null>(null);
  const seen = useRef(0);
  const [atEnd, setAtEnd] = useState(true);
  const [isLoading, setIsLoading] = useState(false);
  const [isMeasured, setIsMeasured] = useState(false);

  // Lines that come or go at the beginning leave what is seen where it is.
  const first = seqOf(rows[0]);
  const firstBefore = useRef(first);
  const shift = first !== undefined && firstBefore.current !== undefined && first !== firstBefore.current;
  useLayoutEffect(() => {
    firstBefore.current = first;
  });

  const toEnd = useCallback(() => {
    const shown = frame.current;
    if (shown) shown.scrollTop = shown.scrollHeight;
  }, []);

  const looked = useCallback(() => {
    if (sticks.current && document.visibilityState === "visible") onEnd();
  }, [onEnd]);

  useEffect(() => {
    document.addEventListener("visibilitychange", looked);
    addEventListener("focus", looked);
    return () => {
      document.removeEventListener("visibilitychange", looked);
      removeEventListener("focus", looked);
    };
  }, [looked]);

  const newest = rows.findLast((row) => row.kind === "message");
  const newestSeq = seqOf(newest) ?? 0;

  // biome-ignore lint/correctness/useExhaustiveDependencies: whenever a line changes
  useLayoutEffect(() => {
    if (rows.length === 0) return;
    if (!began.current) {
      began.current = true;
      const fresh = rows.findIndex((row) => row.kind === "message" && row.fresh);
      if (fresh > 0) {
        sticks.current = false;
        list.current?.scrollToIndex(fresh, { align: "start", offset: -24 });
        return;
      }
    }
    const newest = rows.at(-1);
    if (newest?.kind === "pending" && newest.key !== last.current.sent) {
      last.current.sent = newest.key;
      sticks.current = true; // who says something wants to see it
    }
    if (sticks.current) toEnd();
  }, [rows]);

  useEffect(() => {
    if (sticks.current) seen.current = newestSeq;
    looked();
  }, [newestSeq, looked]);

  useEffect(() => {
    if (target === null || handled.current === target) return;
    const index = rows.findIndex((row) => seqOf(row) === target.seq);
    if (index < 0) return;
    handled.current = target;
    sticks.current = false;
    list.current?.scrollToIndex(index, { align: "center" });
  }, [target, rows]);

  // Lines are drawn where they are guessed to be, then measured: they are shown when they stand still.
  const isEmpty = rows.length === 0;
  useEffect(() => {
    if (isEmpty || isMeasured) return;
    let left = MEASURED_FRAMES;
    let frameId = requestAnimationFrame(function wait() {
      if (--left > 0) frameId = requestAnimationFrame(wait);
      else setIsMeasured(true);
    });
    const hidden = setTimeout(() => setIsMeasured(true), MEASURED_MS);
    return () => {
      cancelAnimationFrame(frameId);
      clearTimeout(hidden);
    };
  }, [isEmpty, isMeasured]);

  const older = useCallback(() => {
    if (loading.current || !hasOlder) return;
    loading.current = true;
    setIsLoading(true);
    loadOlder()
      .catch(() => undefined) // scrolling on asks again
      .finally(() => {
        loading.current = false;
        setIsLoading(false);
      });
  }, [hasOlder, loadOlder]);

  const means = (): void => {
    last.current.meant = performance.now();
  };

  const scrolled = (top: number): void => {
    const shown = frame.current;
    if (!shown) return;
    const left = shown.scrollHeight - top - shown.clientHeight;
    const { top: before, height, view, meant } = last.current;
    if (left < NEAR_END) sticks.current = true;
    else if (sticks.current) {
      // Up, and not because lines were measured or the composer grew: a person wants to read there.
      const isLaidOut = shown.scrollHeight !== height || shown.clientHeight !== view;
      if (top < before - 2 && (!isLaidOut || performance.now() - meant < MEANT_MS)) sticks.current = false;
      else toEnd();
    }
    Object.assign(last.current, { top: shown.scrollTop, height: shown.scrollHeight, view: shown.clientHeight });
    if (sticks.current !== atEnd) setAtEnd(sticks.current);
    if (sticks.current) {
      seen.current = newestSeq;
      looked();
    }
    if (top < NEAR_START) older();
  };

  // Longer than the screen is not certain: what is short asks by itself.
  useEffect(() => {
    const shown = frame.current;
    if (shown && rows.length > 0 && shown.scrollHeight <= shown.clientHeight) older();
  }, [rows, older]);

  const unseen = newestSeq - seen.current;
  return (
    <div className="chat-history-frame">
      <section
        ref={frame}
        className={`chat-history${isEmpty || isMeasured ? "" : " measuring"}`}
        aria-label={t.history}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: keys scroll it
        tabIndex={0}
        onWheel={means}
        onTouchMove={means}
        onKeyDown={means}
        onPointerDown={means}
      >
        <div className="chat-spacer" />
        <p className="chat-beginning small muted" aria-hidden={hasOlder || undefined}>
          {hasOlder ? (isLoading ? t.older : "") : rows.length > 0 ? t.beginning : t.nobodyYet}
        </p>
        <Virtualizer
          ref={list}
          data={rows}
          shift={shift}
          startMargin={40}
          bufferSize={500}
          onScroll={scrolled}
          onResize={() => sticks.current && toEnd()}
        >
          {(row) => (
            <div key={row.key} className="chat-row">
              {draw(row)}
            </div>
          )}
        </Virtualizer>
      </section>
      {!atEnd && (
        <button
          type="button"
          className="chat-to-end"
          onClick={() => {
            sticks.current = true;
            setAtEnd(true);
            toEnd();
          }}
        >
          ↓ {unseen > 0 ? t.newBelow(unseen) : <span className="quiet">{t.toNewest}</span>}
        </button>
      )}
    </div>
  );
}
