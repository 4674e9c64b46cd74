import { type PointerEvent, useMemo, useState } from "react";
import { Virtualizer } from "virtua";
import { span } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { between, dayAndTime, withSeconds } from "./moments";
import type { Known } from "./shares";
import { StatusBadge } from "./status";
import { type History, known, segments, statusAt } from "./timeline";
import { WORDS } from "./words";

const COLUMNS = 400;

/** `current`: what the machine is now. */
export function HistoryView({ history, current }: { history: History; current: Known }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [pointed, setPointed] = useState<number | null>(null);
  const shown = useMemo(() => known(history), [history]);
  const drawn = useMemo(() => segments(shown, current, COLUMNS), [shown, current]);
  const { from, to, changes, complete } = shown;
  const start = Date.parse(from);
  const length = Date.parse(to) - start;
  const point = (event: PointerEvent<SVGSVGElement>) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    setPointed(start + (Math.min(width, Math.max(0, event.clientX - left)) / width) * length);
  };

  return (
    <>
      <svg
        className="monitor-timeline"
        viewBox={`0 0 ${COLUMNS} 10`}
        preserveAspectRatio="none"
        role="img"
        aria-label={t.timeline(dayAndTime(from, language), dayAndTime(to, language))}
        onPointerMove={point}
        onPointerDown={point}
        onPointerLeave={() => setPointed(null)}
      >
        {drawn.map(({ status, start, width }) => (
          <rect key={start} className="monitor-fill" data-status={status} x={start} y="0" width={width} height="10" />
        ))}
      </svg>
      <div className="monitor-axis small muted number" aria-hidden="true">
        <span>{dayAndTime(from, language)}</span>
        <span className="monitor-pointed">
          {pointed === null ? (
            t.pointAt
          ) : (
            <>
              {dayAndTime(pointed, language)} <StatusBadge status={statusAt(shown, current, pointed)} t={t} />
            </>
          )}
        </span>
        <span>{dayAndTime(to, language)}</span>
      </div>
      {changes.length === 0 ? (
        <p className="muted monitor-none">{t.noChanges}</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls can be scrolled by keyboard
        <section className="monitor-changes" tabIndex={0} aria-label={t.history}>
          <Virtualizer as="ul" item="li" data={changes}>
            {(change, index) => (
              <div key={change.timestamp} className="monitor-change">
                <span className="number">
                  {dayAndTime(change.timestamp, language)}:{withSeconds(change.timestamp, language).slice(-2)}
                </span>
                <StatusBadge status={change.status} t={t} />
                <span className="muted small number">
                  {span(between(change.timestamp, changes[index - 1]?.timestamp ?? to), language)}
                </span>
                <span className="muted small">{change.previous_status && t.from(t[change.previous_status])}</span>
              </div>
            )}
          </Virtualizer>
        </section>
      )}
      {!complete && <p className="muted small">{t.cut(changes.length)}</p>}
    </>
  );
}
