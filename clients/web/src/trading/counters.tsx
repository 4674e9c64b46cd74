// biome-ignore-all lint/a11y/useSemanticElements: a virtualised table scrolls by itself, which no <table> does
// biome-ignore-all lint/a11y/useFocusableInteractive: what is to be focused in it are its buttons
import { useEffect, useReducer, useSyncExternalStore } from "react";
import { VList } from "virtua";
import { type Language, useLanguage, useWords } from "../shell/words";
import type { Desk } from "./desk";
import { NONE, plain } from "./formats";
import type { Tally } from "./tally";
import { fault, WORDS } from "./words";

const EVERY_MS = 500;
const COLUMNS = ["rate", "seq", "received", "gaps", "conflated", "recovered", "delay", "age"] as const;

/** What became of every numbered message, by channel, and how evenly this page draws. */
export function Counters({ desk }: { desk: Desk }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const timer = setInterval(again, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const whys: Partial<Record<(typeof COLUMNS)[number], string>> = {
    gaps: t.gapsWhy,
    conflated: t.conflatedWhy,
    recovered: t.recoveredWhy,
    delay: t.delayWhy,
    age: t.ageWhy,
  };
  const tallies = [...desk.tallies].sort(([one], [other]) => one.localeCompare(other, "en", { numeric: true }));
  const { refresh, frames, dropped, longest, long } = desk.frames.meter.figures;
  const now = desk.clock.now();

  return (
    <section className="card trading-panel trading-counters" aria-labelledby="trading-counters">
      <header className="trading-panel-head">
        <h2 id="trading-counters">{t.counters}</h2>
        <span className="badge number trading-pace">
          <b>{plain(Math.round(desk.rate.perSecond), language)}</b> {t.rate}
        </span>
        <button
          type="button"
          className="bare small push"
          onClick={() => {
            desk.frames.meter.reset();
            again();
          }}
        >
          {t.reset}
        </button>
      </header>
      <p
        className="small muted number trading-frames"
        data-frames={frames}
        data-dropped={dropped}
        data-long={long}
        data-longest={longest}
      >
        {t.framesTold(
          refresh,
          plain(frames, language),
          plain(dropped, language),
          plain(Math.round(longest), language),
          plain(long, language),
        )}
      </p>
      <Faults desk={desk} />
      {desk.market.refused > 0 && <p className="note warn small">{t.beyond(plain(desk.market.refused, language))}</p>}
      <div
        role="table"
        aria-labelledby="trading-counters"
        aria-rowcount={tallies.length + 1}
        className="trading-tallies"
      >
        <div role="row" className="trading-tally trading-tally-head">
          <span role="columnheader">{t.channel}</span>
          {COLUMNS.map((column) => (
            <span key={column} role="columnheader" className={`number trading-${column}`} title={whys[column]}>
              {t[column]}
            </span>
          ))}
        </div>
        {tallies.length === 0 ? (
          <p className="empty">{t.noChannels}</p>
        ) : (
          <VList className="trading-rows" role="rowgroup" tabIndex={0}>
            {tallies.map(([channel, tally], index) => (
              <div key={channel} role="row" aria-rowindex={index + 2} className="trading-tally" data-channel={channel}>
                <Name channel={channel} />
                {figures(tally, now, language).map(([column, text, isBad]) => (
                  <span
                    key={column}
                    role="cell"
                    className={`number trading-${column}${isBad ? " trading-bad" : ""}`}
                    title={
                      column === "gaps" && tally.restarts > 0 ? t.restarts(plain(tally.restarts, language)) : undefined
                    }
                  >
                    {text}
                  </span>
                ))}
              </div>
            ))}
          </VList>
        )}
      </div>
    </section>
  );
}

/** Where there is no room for all of it, its class is cut first: the symbol says which it is. */
const Name = ({ channel }: { channel: string }) => {
  const end = channel.indexOf(":") + 1;
  return (
    <span role="cell" className="trading-channel" title={channel}>
      <span className="clip">{channel.slice(0, end)}</span>
      <span className="clip">{channel.slice(end)}</span>
    </span>
  );
};

type Figure = readonly [column: (typeof COLUMNS)[number], text: string, isBad?: boolean];

const figures = (tally: Tally, now: number | undefined, language: Language): readonly Figure[] => [
  ["rate", plain(tally.rate.perSecond, language, tally.rate.perSecond < 10 ? 1 : 0)],
  ["seq", plain(tally.newest, language)],
  ["received", plain(tally.received, language)],
  ["gaps", plain(tally.missed, language) + (tally.restarts > 0 ? " +?" : ""), tally.missed > 0 || tally.restarts > 0],
  ["conflated", plain(tally.conflated, language)],
  ["recovered", plain(tally.recovered, language)],
  ["delay", tally.delay === undefined ? NONE : brief(tally.delay, language)],
  ["age", now === undefined || tally.at === 0 ? NONE : brief(now - tally.at, language)],
];

/** 12 ms, 3.4 s, 5 min, 2 h; never less than nothing: clocks differ. */
const brief = (milliseconds: number, language: Language): string => {
  const all = Math.max(0, milliseconds);
  if (all < 1000) return `${plain(Math.round(all), language)} ms`;
  if (all < 60_000) return `${plain(all / 1000, language, 1)} s`;
  if (all < 3_600_000) return `${plain(Math.floor(all / 60_000), language)} min`;
  return `${plain(Math.floor(all / 3_600_000), language)} h`;
};

/** Subscriptions that the server refused, or ended. */
function Faults({ desk }: { desk: Desk }) {
  const t = useWords(WORDS);
  const channels = useSyncExternalStore(desk.subscribe, desk.channels);
  if (desk.connection.state !== "connected") return null; // the light says why
  const faults = channels.flatMap((channel) => {
    const { status, error } = channel.snapshot();
    if (status === "ended") return [t.ended(channel.channel)];
    return status === "failed" ? [t.failed(channel.channel, fault(error?.code, t))] : [];
  });
  if (faults.length === 0) return null;
  return (
    <ul className="plain note bad small" role="alert">
      {faults.map((each) => (
        <li key={each} className="wrap">
          {each}
        </li>
      ))}
    </ul>
  );
}
