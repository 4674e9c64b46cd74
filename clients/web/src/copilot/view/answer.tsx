import { useState } from "react";
import { useLanguage, useWords } from "../../shell/words";
import type { Answer, Figures } from "../thread/asked";
import { type CopilotWords, WORDS } from "../words";
import { LineChart } from "./line-chart";
import { took } from "./steps";

const MOST_RESULTS = 10;
const MOST_TEXT = 400;
const TIME = /^\d{4}(-\d\d){0,2}$/;

export const asText = (answer: Answer): string =>
  [
    answer.text,
    ...blocks(answer.data).flatMap(({ figures = [] }) => figures.map(({ label, value }) => `${label ?? ""}\t${value}`)),
    ...answer.sources.map(({ dataset, rows }) => `(${dataset}: ${rows})`),
  ].join("\n");

/** With a language model there may be several. */
const blocks = (data: Figures | null | undefined): Figures[] => {
  if (!data) return [];
  const several = Array.isArray(data.results) ? (data.results as Figures[]).slice(0, MOST_RESULTS) : [data];
  return several.filter((each) => Array.isArray(each?.figures) && each.figures.length > 0);
};

export function AnswerView({ answer }: { answer: Answer }) {
  const t = useWords(WORDS);
  return (
    <div className="copilot-answer">
      <Text text={answer.text} />
      {blocks(answer.data).map((each, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: an answer never changes
        <FiguresView key={index} figures={each} />
      ))}
      <p className="row small muted copilot-sources">
        <b>{t.sources}</b>
        {answer.sources.map(({ dataset, rows, complete }) => (
          <span key={dataset} className="badge copilot-clip" title={dataset}>
            <span className="clip">{dataset}</span> · {t.source(rows, complete !== false)}
          </span>
        ))}
        <span className="push number">{t.tookServer(took(answer.latency_ms, t))}</span>
      </p>
    </div>
  );
}

/** All figures of a long one stand in the table too. */
function Text({ text }: { text: string }) {
  const t = useWords(WORDS);
  const [clipped, setClipped] = useState(text.length > MOST_TEXT);
  return (
    <div>
      <p className="copilot-text wrap" data-clipped={clipped || undefined}>
        {text}
      </p>
      {clipped && (
        <button type="button" className="bare small" onClick={() => setClipped(false)}>
          {t.whole}
        </button>
      )}
    </div>
  );
}

const days = ({ from, to }: { from: string; to: string }): string => (from === to ? from : `${from} ~ ${to}`);

const said = (figures: Figures, t: CopilotWords): string =>
  [figures.measure ?? "", figures.operation ? t[figures.operation] : "", figures.per ? t[figures.per] : ""]
    .filter(Boolean)
    .join(" · ");

function FiguresView({ figures }: { figures: Figures }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const rows = figures.figures ?? [];
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
  const amount = (value: number | null | undefined) =>
    value === null || value === undefined
      ? "–"
      : value !== 0 && Math.abs(value) < 0.005
        ? value.toPrecision(3)
        : number.format(value);
  const signed = (value: number) => `${value > 0 ? "+" : ""}${amount(value)}`;
  const compared = rows.some((row) => row.previous !== undefined);
  const grouped = typeof figures.group_by === "string";
  const timely = grouped && rows.length > 2 && rows.every(({ label }) => label !== null && TIME.test(label));
  const bars = grouped && !timely && rows.length > 1;
  const most = Math.max(...rows.flatMap(({ value, previous }) => [Math.abs(value), Math.abs(previous ?? 0)]), 0) || 1;
  const notes = [
    figures.period ? days(figures.period) : "",
    figures.compared_with ? t.against(days(figures.compared_with)) : "",
    ...Object.entries(figures.filters ?? {}).map(([name, values]) => `${name} = ${values.join(" / ")}`),
    figures.rows === undefined ? "" : t.basis(figures.rows),
    figures.skipped ? t.skipped(figures.skipped) : "",
    figures.unknown?.length ? t.unknown(figures.unknown.join(", ")) : "",
    (figures.groups ?? 0) > rows.length ? t.groups(rows.length, figures.groups ?? 0) : "",
  ].filter(Boolean);

  return (
    <figure className="copilot-figures">
      <figcaption className="small">
        <b className="wrap">
          {figures.dataset ? `${figures.dataset}: ` : ""}
          {said(figures, t) || t.figures}
        </b>
        {notes.map((note) => (
          <span key={note} className="badge copilot-clip" title={note}>
            <span className="clip">{note}</span>
          </span>
        ))}
      </figcaption>
      {timely && (
        <LineChart
          points={rows.map(({ label, value, previous }) => ({ label: label ?? "", value, previous: previous ?? null }))}
          what={said(figures, t)}
          amount={amount}
        />
      )}
      <section className="table-frame copilot-table" tabIndex={rows.length > 8 ? 0 : undefined} aria-label={t.figures}>
        <table>
          <thead>
            <tr>
              <th scope="col">{figures.group_by ?? ""}</th>
              {bars && <td className="copilot-bars" />}
              <th scope="col" className="number">
                {compared ? t.current : t.value}
              </th>
              {compared && (
                <th scope="col" className="number">
                  {t.previous}
                </th>
              )}
              {compared && (
                <th scope="col" className="number">
                  {t.change}
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ label, value, previous, change, change_percent }, index) => (
              <tr key={label ?? `none-${index}`}>
                <th scope="row" className="copilot-label" title={label ?? undefined}>
                  {label ?? (grouped ? t.none : t.basis(figures.rows ?? 0))}
                </th>
                {bars && (
                  <td aria-hidden="true" className="copilot-bars">
                    <i style={{ width: `${(100 * Math.abs(value)) / most}%` }} data-negative={value < 0 || undefined} />
                    {compared && (
                      <i className="copilot-before" style={{ width: `${(100 * Math.abs(previous ?? 0)) / most}%` }} />
                    )}
                  </td>
                )}
                <td className="number">{amount(value)}</td>
                {compared && <td className="number muted">{amount(previous)}</td>}
                {compared && (
                  <td className="number" data-trend={Math.sign(change ?? 0)}>
                    {typeof change === "number" ? signed(change) : "–"}
                    {typeof change_percent === "number" && ` (${signed(change_percent)}%)`}
                  </td>
                )}
              </tr>
            ))}
          </tbody>
          {grouped && typeof figures.overall === "number" && (
            <tfoot>
              <tr>
                <th scope="row">{t.overall}</th>
                {bars && <td />}
                <td className="number">{amount(figures.overall)}</td>
                {compared && <td className="number muted">{amount(figures.overall_previous)}</td>}
                {compared && (
                  <td className="number">
                    {typeof figures.overall_previous === "number"
                      ? signed(figures.overall - figures.overall_previous)
                      : "–"}
                  </td>
                )}
              </tr>
            </tfoot>
          )}
        </table>
      </section>
    </figure>
  );
}
