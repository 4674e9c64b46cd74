import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { useNotices } from "../shell/notices";
import { tellError } from "../shell/toasts";
import { useWords } from "../shell/words";
import { Alarms, stateOf } from "./alarms";
import { Announcer } from "./announcer";
import { useAnswering } from "./answering";
import { Boxes } from "./boxes";
import { Details } from "./details";
import { useColumns } from "./fill";
import { Plant } from "./plant";
import { useShares } from "./shares";
import { Strip } from "./strip";
import { useView } from "./view";
import { WORDS } from "./words";

const PLACEHOLDERS = 17;

/** The plant is connected to for as long as the page is there. */
export function MonitorPage() {
  const [plant, setPlant] = useState<Plant | null>(null);
  const [view, setView] = useView();
  const line = useRef(view.line);
  useEffect(() => {
    const opened = new Plant(line.current);
    setPlant(opened);
    return () => opened.close();
  }, []);
  useEffect(() => {
    if (plant === null || line.current === view.line) return;
    line.current = view.line;
    plant.narrow(view.line).catch((error) => {
      tellError(error);
      setView({ line: null });
    });
  }, [plant, view.line, setView]);
  return plant && <Live plant={plant} view={view} onView={setView} />;
}

function Live({
  plant,
  view,
  onView,
}: {
  plant: Plant;
  view: ReturnType<typeof useView>[0];
  onView: ReturnType<typeof useView>[1];
}) {
  const t = useWords(WORDS);
  useNotices(plant.monitor.connection);
  const snapshot = useSyncExternalStore(plant.subscribe, plant.snapshot);
  const answering = useAnswering(plant);
  const shares = useShares(snapshot.link === "live");
  const [opened, setOpened] = useState<string | null>(null);
  const open = useCallback((code: string) => setOpened(code), []);
  const urgent = useMemo(
    () => new Set(snapshot.alarms.filter((each) => stateOf(each) === "active").map((each) => each.equipment_code)),
    [snapshot.alarms],
  );
  const { machines, lines, link, now } = snapshot;
  useEffect(() => {
    if (view.line !== null && lines.length > 0 && !lines.includes(view.line)) onView({ line: null });
  }, [view.line, lines, onView]);
  const shown = useMemo(
    () => (view.status === null ? machines : machines.filter(({ status }) => status === view.status)),
    [machines, view.status],
  );

  return (
    <div className="monitor-page">
      <h1 className="quiet">{t.title}</h1>
      <Announcer plant={plant} />
      <Strip plant={snapshot} view={view} onView={onView} onRetry={() => plant.monitor.retry()} />
      <div className="monitor-body">
        {now === null ? (
          <Waiting />
        ) : shown.length === 0 ? (
          <div className="empty monitor-boxes">
            <p>{machines.length === 0 ? t.noMachines : t.noneSuch}</p>
            {view.status !== null && (
              <p>
                <button type="button" onClick={() => onView({ status: null })}>
                  {t.everything}
                </button>
              </p>
            )}
          </div>
        ) : (
          <Boxes machines={shown} link={link} now={now} urgent={urgent} shares={shares} onOpen={open} />
        )}
        {!view.wall && <Alarms plant={snapshot} answering={answering} onOpen={open} />}
      </div>
      {opened !== null && (
        <Details
          code={opened}
          plant={plant}
          snapshot={snapshot}
          answering={answering}
          onClose={() => setOpened(null)}
        />
      )}
      {answering.dialog}
    </div>
  );
}

/** As many gray boxes as a plant has by default, for nothing to jump when the first status comes. */
function Waiting() {
  const t = useWords(WORDS);
  const element = useRef<HTMLDivElement>(null);
  const columns = useColumns(element, PLACEHOLDERS);
  return (
    <div
      ref={element}
      className="monitor-boxes monitor-waiting"
      aria-busy="true"
      aria-label={t.waiting}
      role="status"
      data-fills={columns !== null}
      style={columns === null ? undefined : { gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}
    >
      {Array.from({ length: PLACEHOLDERS }, (_, index) => index).map((index) => (
        <span key={index} aria-hidden="true" />
      ))}
    </div>
  );
}
