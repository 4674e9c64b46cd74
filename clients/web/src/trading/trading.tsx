import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { usePerson } from "../shell/identity";
import { Light } from "../shell/light";
import { endedBy, useNotices } from "../shell/notices";
import { tell } from "../shell/toasts";
import { useWords } from "../shell/words";
import { Chart } from "./chart";
import { Counters } from "./counters";
import { Desk } from "./desk";
import { Publish } from "./publish";
import { StreamPanel } from "./stream-panel";
import { WatchList } from "./watch-list";
import { asSymbol, MOST_WATCHED, remember, remembered, type Watched } from "./watched";
import { fault, WORDS } from "./words";

export function Trading() {
  const now = usePerson();
  const [person] = useState(now); // a fresh token of the same person is no reason to begin anew
  const [desk, setDesk] = useState<Desk | null>(null);
  useEffect(() => {
    if (person === null) return;
    const opened = new Desk(person.userId, person.roles);
    setDesk(opened);
    return () => opened.close();
  }, [person]);
  return desk && <Page desk={desk} isPublisher={person?.roles.includes("publisher") ?? false} />;
}

function Page({ desk, isPublisher }: { desk: Desk; isPublisher: boolean }) {
  const t = useWords(WORDS);
  const [watched, setWatched] = useState(remembered);
  const [publishing, setPublishing] = useState(false);
  const { connection, market } = desk;
  useNotices(connection);
  const state = useSyncExternalStore(
    (listener) => connection.onState(listener),
    () => connection.state,
  );
  const seen = useSyncExternalStore(market.subscribe, market.symbols);
  useEffect(() => desk.watch(watched.all, watched.symbols), [desk, watched.all, watched.symbols]);

  const symbols = useMemo(
    () => (watched.all ? [...new Set([...watched.symbols, ...seen.toSorted()])] : watched.symbols),
    [watched.all, watched.symbols, seen],
  );
  const chosen = watched.chosen !== null && symbols.includes(watched.chosen) ? watched.chosen : (symbols[0] ?? null);

  const change = (next: Partial<Watched>) => {
    const changed = { ...watched, ...next };
    setWatched(changed);
    remember(changed);
  };
  /** Returns whether it was. */
  const add = (text: string): boolean => {
    const symbol = asSymbol(text);
    if (symbol === null) tell(t.badSymbol, "bad");
    else if (watched.symbols.includes(symbol)) change({ chosen: symbol });
    else if (watched.symbols.length >= MOST_WATCHED) tell(t.tooMany(MOST_WATCHED), "bad");
    else {
      change({ symbols: [...watched.symbols, symbol] });
      return true;
    }
    return symbol !== null && watched.symbols.includes(symbol);
  };

  return (
    <div className="trading">
      <header className="trading-head">
        <h1>{t.title}</h1>
        <Light state={state === "closed" ? "failed" : state} onRetry={() => connection.retry()} />
        {state === "failed" && (
          <span className="trading-why" role="alert">
            {endedBy(connection.error) ?? fault(connection.error?.code, t)}
          </span>
        )}
        {isPublisher && (
          <button type="button" className="small push" onClick={() => setPublishing(true)}>
            {t.publish}
          </button>
        )}
      </header>
      <WatchList
        desk={desk}
        symbols={symbols}
        watched={watched}
        chosen={chosen}
        onChoose={(symbol) => change({ chosen: symbol })}
        onAll={(all) => change({ all })}
        onAdd={add}
        onRemove={(symbol) => change({ symbols: watched.symbols.filter((each) => each !== symbol) })}
      />
      <Chart desk={desk} symbol={chosen} />
      <Counters desk={desk} />
      <StreamPanel desk={desk} />
      {publishing && <Publish desk={desk} symbol={chosen} onDone={() => setPublishing(false)} />}
    </div>
  );
}
