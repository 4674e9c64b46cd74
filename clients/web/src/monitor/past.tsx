import type { EquipmentAlarm } from "atrium-client";
import { useCallback, useState } from "react";
import { request } from "../shell/http";
import { span } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { between, dayAndTime } from "./moments";
import { Shape } from "./status";
import { WORDS } from "./words";

interface PastAlarm extends EquipmentAlarm {
  readonly cleared_at: string;
}

interface Page {
  readonly alarms: readonly PastAlarm[];
  readonly next_before?: number;
}

const PAGE = 30;
const MOST = 300;

/** Alarms that are over, when somebody wants to see them. */
export function Past() {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [page, setPage] = useState<Page | null>(null);
  const [failed, setFailed] = useState(false);

  const load = useCallback(async (before?: number, had: readonly PastAlarm[] = []) => {
    setFailed(false);
    try {
      const query = `state=past&limit=${PAGE}${before === undefined ? "" : `&before=${before}`}`;
      const more = await request<Page>(`/api/monitor/alarms?${query}`);
      setPage({ ...more, alarms: [...had, ...more.alarms] });
    } catch {
      setFailed(true);
    }
  }, []);

  return (
    <details className="monitor-past" onToggle={(event) => event.currentTarget.open && void load()}>
      <summary>{t.past}</summary>
      {failed && (
        <p className="note bad" role="alert">
          {t.failed}{" "}
          <button type="button" className="small" onClick={() => void load()}>
            {t.retry}
          </button>
        </p>
      )}
      {page?.alarms.length === 0 && <p className="muted">{t.nonePast}</p>}
      <ul className="plain">
        {page?.alarms.map((alarm) => {
          const status = alarm.kind === "disconnected" ? "disconnected" : "error";
          const name = alarm.equipment_name ?? t.goneMachine;
          return (
            <li key={alarm.alarm_id} className="monitor-past-alarm">
              <span className="monitor-mark" data-status={status} title={t[status]}>
                <Shape status={status} />
                <span className="quiet">{t[status]}</span>
              </span>
              <span className="clip" title={`${name}\n${alarm.equipment_code}`}>
                {name}
              </span>
              <span className="muted small number">
                {dayAndTime(alarm.raised_at, language)} ·{" "}
                {t.lasted(span(between(alarm.raised_at, alarm.cleared_at), language))}
                {alarm.acknowledged_by ? ` · ✓ ${alarm.acknowledged_by}` : ""}
              </span>
            </li>
          );
        })}
      </ul>
      {page?.next_before !== undefined && page.alarms.length < MOST && (
        <button type="button" className="small" onClick={() => void load(page.next_before, page.alarms)}>
          {t.more}
        </button>
      )}
    </details>
  );
}
