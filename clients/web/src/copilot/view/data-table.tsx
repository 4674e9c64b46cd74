// biome-ignore-all lint/a11y/useSemanticElements: the rows of a <table> cannot be drawn in part
// biome-ignore-all lint/a11y/useFocusableInteractive: it is a table, not a grid; what scrolls has the focus
import { VList } from "virtua";
import { useLanguage, useWords } from "../../shell/words";
import type { Row, Value } from "../data/kinds";
import { WORDS } from "../words";

const COLUMN_PX = 150;
const NUMBER_PX = 64;

/** Rows as they are, however many: only those in sight are drawn. */
export function DataTable({ rows, names, label }: { rows: readonly Row[]; names: readonly string[]; label: string }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const columns = {
    gridTemplateColumns: `${NUMBER_PX}px repeat(${names.length}, minmax(${COLUMN_PX}px, 1fr))`,
    minWidth: NUMBER_PX + names.length * COLUMN_PX,
  };
  return (
    <div
      className="copilot-data-table"
      role="table"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-colcount={names.length + 1}
    >
      <div role="row" className="copilot-data-row copilot-data-head" style={columns} aria-rowindex={1}>
        <span role="columnheader" className="number">
          {t.row}
        </span>
        {names.map((name) => (
          <span
            key={name}
            role="columnheader"
            title={name}
            className={typeof rows[0]?.[name] === "number" ? "number" : undefined}
          >
            {name}
          </span>
        ))}
      </div>
      <VList className="copilot-data-body" style={{ minWidth: columns.minWidth }} tabIndex={0} role="rowgroup">
        {rows.map((row, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: rows have no other name, and do not move
          <div key={at} role="row" className="copilot-data-row" style={columns} aria-rowindex={at + 2}>
            <span role="rowheader" className="muted number">
              {(at + 1).toLocaleString(language)}
            </span>
            {names.map((name) => (
              <Cell key={name} value={row[name]} />
            ))}
          </div>
        ))}
      </VList>
    </div>
  );
}

function Cell({ value }: { value: Value | undefined }) {
  const text = value === null || value === undefined ? "" : String(value);
  return (
    <span
      role="cell"
      title={text.length > 18 ? text : undefined}
      className={typeof value === "number" ? "number" : undefined}
    >
      {text}
    </span>
  );
}
