import type { ReactNode } from "react";
import { useAbout } from "../shell/about";
import { useWords } from "../shell/words";
import { WORDS } from "./words";

interface Found {
  readonly text: string;
  readonly namespace: string;
}

/** What a list is narrowed to: a text, a namespace, and `children` of its own. */
export function Filters({
  label,
  text,
  namespace,
  onChange,
  children,
}: Found & { label: string; onChange: (found: Partial<Found>) => void; children?: ReactNode }) {
  const t = useWords(WORDS);
  const about = useAbout();
  return (
    <div className="admin-filters">
      <label>
        {label}
        <input
          type="search"
          value={text}
          maxLength={200}
          onChange={(event) => onChange({ text: event.target.value })}
        />
      </label>
      <label>
        {t.namespace}
        <select value={namespace} onChange={(event) => onChange({ namespace: event.target.value })}>
          <option value="">{t.all}</option>
          {about?.namespaces.map((each) => (
            <option key={each.path}>{each.path}</option>
          ))}
        </select>
      </label>
      {children}
    </div>
  );
}
