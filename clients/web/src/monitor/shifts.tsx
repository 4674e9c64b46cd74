import { span } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { dayOf, timeOfDay } from "./moments";
import { percent, type Report, type ShiftRow, STACK } from "./shares";
import { StatusBadge } from "./status";
import { WORDS } from "./words";

/** A bar for each shift, the newest first, and only those of which something is known. */
export function Shifts({ report }: { report: Report }) {
  const t = useWords(WORDS);
  const rows = report.availability.filter(({ availability }) => availability !== null).reverse();
  const shown = STACK.filter((status) => rows.some(({ seconds }) => seconds[status] > 0));
  if (rows.length === 0) return <p className="muted monitor-none">{t.noData}</p>;
  return (
    <>
      <p className="row small">
        {shown.map((status) => (
          <StatusBadge key={status} status={status} t={t} />
        ))}
        <span className="muted push">{t.shiftsIn(report.timezone)}</span>
      </p>
      <ul className="plain monitor-shifts">
        {rows.map((row) => (
          <Shift key={row.start} row={row} report={report} />
        ))}
      </ul>
    </>
  );
}

function Shift({ row, report }: { row: ShiftRow; report: Report }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const { shift, start, end, seconds, availability } = row;
  const whole = (Date.parse(end) - Date.parse(start)) / 1000;
  const open = Date.parse(end) > Date.parse(report.to);
  const name = t.shiftNames[shift] ?? shift;
  const times = `${timeOfDay(start, language, report.timezone)}–${timeOfDay(end, language, report.timezone)}`;
  const share = availability === null ? t.noData : percent(availability);
  const parts = STACK.filter((status) => seconds[status] > 0);
  const said = parts.map((status) => `${t[status]} ${span(seconds[status] * 1000, language)}`).join(", ");
  return (
    <li className="monitor-shift">
      <span className="monitor-shift-when">
        <span className="number">{dayOf(start, language, report.timezone)}</span>
        <span className="clip" title={`${name} ${times}`}>
          {name} <span className="muted small number">{times}</span>
        </span>
      </span>
      <span
        className="monitor-bar"
        role="img"
        aria-label={`${t.ofShift(`${dayOf(start, language, report.timezone)} ${name}`, share)}. ${said}`}
        title={said}
      >
        {parts.map((status) => (
          <i
            key={status}
            className="monitor-fill"
            data-status={status}
            style={{ width: `${(seconds[status] / whole) * 100}%` }}
          />
        ))}
      </span>
      <b className="number">{share}</b>
      <span className="muted small">{open ? t.running1 : ""}</span>
    </li>
  );
}
