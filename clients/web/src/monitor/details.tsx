import { type ReactNode, useEffect, useState } from "react";
import { Dialog } from "../shell/dialog";
import { ask, request } from "../shell/http";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { AlarmCard } from "./alarms";
import type { Answering } from "./answering";
import { HistoryView } from "./history";
import { dayAndTime, moment, withSeconds } from "./moments";
import type { Plant, PlantSnapshot } from "./plant";
import type { Report } from "./shares";
import { Shifts } from "./shifts";
import { StatusBadge } from "./status";
import { type History, loadHistory } from "./timeline";
import { WORDS } from "./words";

const HOUR = 3_600_000;
const PERIODS = { day: 24 * HOUR, week: 7 * 24 * HOUR, month: 30 * 24 * HOUR };
type Period = keyof typeof PERIODS;

const SETTLED_MS = 1500; // after a change: it is stored a moment later

interface Props {
  code: string;
  plant: Plant;
  snapshot: PlantSnapshot;
  answering: Answering;
  onClose: () => void;
}

/** All of one machine: what it is now, its open alarms, its past. */
export function Details({ code, plant, snapshot, answering, onClose }: Props) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [period, setPeriod] = useState<Period>("day");
  const machine = snapshot.machines.find((each) => each.code === code);
  const equipment = plant.equipment(code);
  const { now } = snapshot;
  const [stamp, setStamp] = useState(machine?.since);
  const [found, setFound] = useState<{ history: History; report: Report; period: Period } | "failed" | null>(null);
  const [again, setAgain] = useState(0);

  useEffect(() => {
    const timer = setTimeout(() => setStamp(machine?.since), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [machine?.since]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: loaded anew after a change (stamp) and when asked to (again)
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const from = new Date((now === null ? Date.now() : Date.parse(now)) - PERIODS[period]).toISOString();
    Promise.all([
      loadHistory(code, from, signal),
      request<Report>(
        `/api/monitor/equipment/${encodeURIComponent(code)}/availability?from=${encodeURIComponent(from)}`,
        { signal },
      ),
    ])
      .then(([history, report]) => setFound({ history, report, period }))
      .catch(() => signal.aborted || setFound("failed"));
    return () => controller.abort();
  }, [code, period, stamp, again]);

  const download = async (what: "history" | "availability") => {
    const from = new Date((now === null ? Date.now() : Date.parse(now)) - PERIODS[period]).toISOString();
    try {
      const path = `/api/monitor/equipment/${encodeURIComponent(code)}/${what}?format=csv&from=${encodeURIComponent(from)}`;
      save(await (await ask(path)).blob(), `${what}-${code}.csv`);
    } catch {
      tell(t.failed, "bad");
    }
  };

  const alarms = snapshot.alarms.filter((each) => each.equipment_code === code);
  const loaded = found !== null && found !== "failed" ? found : null;
  return (
    <Dialog title={machine?.name ?? equipment?.equipment_name ?? code} onClose={onClose}>
      <div className="monitor-details stack">
        <div className="row">
          {machine && (
            <span className="monitor-details-status" data-status={machine.status}>
              <StatusBadge status={machine.status} t={t} />
            </span>
          )}
          {machine?.since && <span className="number">{t.sinceTime(moment(machine.since, now, language))}</span>}
          <button type="button" className="small push" onClick={onClose}>
            {t.close}
          </button>
        </div>
        <dl className="monitor-facts">
          <Fact name={t.code}>
            <code>{code}</code>
          </Fact>
          {machine?.line && <Fact name={t.line}>{machine.line}</Fact>}
          {equipment && (
            <>
              <Fact name={t.updated}>
                <span className="number">{withSeconds(equipment.last_updated, language)}</span>
              </Fact>
              <Fact name={t.quality}>{t[equipment.quality]}</Fact>
              {equipment.source_time && (
                <Fact name={t.deviceTime}>
                  <span className="number">{dayAndTime(equipment.source_time, language)}</span>
                </Fact>
              )}
              <Fact name={t.tags}>
                <span className="row monitor-tags">
                  <Tag name={t.statusTag} on={equipment.tags.status_tag === 1} />
                  <Tag name={t.errorTag} on={equipment.tags.error_tag === 1} />
                  <Tag name={t.connectionTag} on={equipment.tags.connection} />
                </span>
              </Fact>
            </>
          )}
        </dl>
        {alarms.length > 0 && (
          <ul className="plain stack">
            {alarms.map((alarm) => (
              <li key={alarm.alarm_id}>
                <AlarmCard alarm={alarm} now={now} live={snapshot.link === "live"} answering={answering} />
              </li>
            ))}
          </ul>
        )}
        {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms */}
        <div className="row monitor-periods" role="group" aria-label={t.period}>
          {(Object.keys(PERIODS) as Period[]).map((each) => (
            <button
              key={each}
              type="button"
              className="small"
              aria-pressed={each === period}
              onClick={() => setPeriod(each)}
            >
              {t[each]}
            </button>
          ))}
        </div>
        {found === "failed" && (
          <p className="note bad row" role="alert">
            {t.failed}
            <button type="button" className="small" onClick={() => setAgain(again + 1)}>
              {t.retry}
            </button>
          </p>
        )}
        <div className="monitor-pasts stack" aria-busy={loaded?.period !== period && found !== "failed"}>
          <section>
            <h3 className="row">
              {t.history}
              <Download label={t.downloadHistory} text={t.download} onClick={() => void download("history")} />
            </h3>
            <div className="monitor-history">
              {loaded && <HistoryView history={loaded.history} current={machine?.status ?? "unknown"} />}
            </div>
          </section>
          <section>
            <h3 className="row">
              {t.availability}
              <Download
                label={t.downloadAvailability}
                text={t.download}
                onClick={() => void download("availability")}
              />
            </h3>
            <div className="monitor-report">{loaded && <Shifts report={loaded.report} />}</div>
          </section>
        </div>
      </div>
    </Dialog>
  );
}

const Fact = ({ name, children }: { name: string; children: ReactNode }) => (
  <div>
    <dt className="muted small">{name}</dt>
    <dd>{children}</dd>
  </div>
);

function Tag({ name, on }: { name: string; on: boolean }) {
  const t = useWords(WORDS);
  return (
    <span className="small">
      {name}: <b>{on ? t.yes : t.no}</b>
    </span>
  );
}

const Download = ({ label, text, onClick }: { label: string; text: string; onClick: () => void }) => (
  <button type="button" className="small push" aria-label={label} title={label} onClick={onClick}>
    <svg
      viewBox="0 0 16 16"
      width="14"
      height="14"
      aria-hidden="true"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
    >
      <path d="M8 2v8m-3.5-3L8 10.5 11.5 7M2.5 13.5h11" />
    </svg>
    {text}
  </button>
);

const save = (blob: Blob, name: string): void => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may not have begun to read it
};
