import type { EquipmentAlarm } from "atrium-client";
import { span } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import type { Answering } from "./answering";
import { between, moment } from "./moments";
import { Past } from "./past";
import type { PlantSnapshot } from "./plant";
import { Shape, type Status } from "./status";
import { WORDS } from "./words";

const MOST_SHOWN = 200;

export const kindOf = (alarm: EquipmentAlarm): Status => (alarm.kind === "disconnected" ? "disconnected" : "error");

export const stateOf = (alarm: EquipmentAlarm): "active" | "acknowledged" | "shelved" =>
  alarm.shelved_until ? "shelved" : alarm.acknowledged_at ? "acknowledged" : "active";

interface Props {
  plant: PlantSnapshot;
  answering: Answering;
  onOpen: (code: string) => void;
}

/** Those that nobody answered first; in each group the newest first. */
export function Alarms({ plant, answering, onOpen }: Props) {
  const t = useWords(WORDS);
  const shown = plant.alarms.slice(0, MOST_SHOWN);
  const live = plant.link === "live";
  return (
    <section id="alarms" className="monitor-alarms" aria-label={t.alarms}>
      {(["active", "acknowledged", "shelved"] as const).map((state) => {
        const these = shown.filter((each) => stateOf(each) === state);
        if (these.length === 0 && state !== "active") return null;
        return (
          <div key={state} className="monitor-alarm-group">
            <h2 className="row">
              {state === "active" ? t.alarms : t[state]}
              <span className={`badge ${state === "active" && these.length > 0 ? "bad" : ""}`}>{these.length}</span>
            </h2>
            {these.length === 0 && <p className="muted monitor-well">{t.noneActive}</p>}
            <ul className="plain">
              {these.map((alarm) => (
                <li key={alarm.alarm_id}>
                  <AlarmCard alarm={alarm} now={plant.now} live={live} answering={answering} onOpen={onOpen} />
                </li>
              ))}
            </ul>
          </div>
        );
      })}
      {plant.alarms.length > MOST_SHOWN && <p className="muted small">{t.onlyNewest(MOST_SHOWN)}</p>}
      <Past />
    </section>
  );
}

interface CardProps {
  alarm: EquipmentAlarm;
  now: string | null;
  live: boolean;
  answering: Answering;
  onOpen?: (code: string) => void;
}

export function AlarmCard({ alarm, now, live, answering, onOpen }: CardProps) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const status = kindOf(alarm);
  const state = stateOf(alarm);
  const name = alarm.equipment_name ?? alarm.equipment_code;
  const raised = moment(alarm.raised_at, now, language);
  const long = now === null ? "" : ` · ${span(between(alarm.raised_at, now), language)}`;
  const { answer } = answering;
  return (
    <article className="monitor-alarm" data-status={status} data-state={state} aria-label={`${name}, ${t[status]}`}>
      <div className="monitor-alarm-head">
        <span className="monitor-status" data-status={status}>
          <Shape status={status} />
          {t[status]}
        </span>
        <span className="muted small number push">
          {raised}
          {long}
        </span>
      </div>
      {onOpen ? (
        <button
          type="button"
          className="bare monitor-alarm-name"
          title={name}
          onClick={() => onOpen(alarm.equipment_code)}
        >
          {name}
        </button>
      ) : null}
      {alarm.flapping && <span className="badge warn">{t.flapping(alarm.occurrences)}</span>}
      {alarm.acknowledged_at && (
        <p className="small muted wrap">
          ✓ {t.by(alarm.acknowledged_by ?? "", moment(alarm.acknowledged_at, now, language))}
          {alarm.acknowledge_comment && <q className="monitor-comment">{alarm.acknowledge_comment}</q>}
        </p>
      )}
      {alarm.shelved_until && (
        <p className="small muted wrap">
          {t.by(alarm.shelved_by ?? "", t.until(moment(alarm.shelved_until, now, language)))}
          {alarm.shelve_comment && <q className="monitor-comment">{alarm.shelve_comment}</q>}
        </p>
      )}
      <div className="monitor-alarm-answers">
        {!alarm.acknowledged_at && (
          <>
            <button
              type="button"
              className="small primary"
              disabled={!live}
              onClick={() => answer("acknowledge", alarm)}
            >
              {t.acknowledge}
            </button>
            <button
              type="button"
              className="small bare"
              disabled={!live}
              aria-label={t.withComment}
              title={t.withComment}
              onClick={() => answer("acknowledge", alarm, true)}
            >
              <Pen />
            </button>
          </>
        )}
        {state === "shelved" ? (
          <button type="button" className="small" disabled={!live} onClick={() => answer("unshelve", alarm)}>
            {t.unshelve}
          </button>
        ) : (
          <button type="button" className="small" disabled={!live} onClick={() => answer("shelve", alarm, true)}>
            {t.shelve}
          </button>
        )}
      </div>
    </article>
  );
}

const Pen = () => (
  <svg
    viewBox="0 0 20 20"
    width="16"
    height="16"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.6"
    strokeLinejoin="round"
  >
    <path d="M3 4h14v9.5H9L5.5 17v-3.5H3z" />
    <path d="M6.5 8.7h7" />
  </svg>
);
