import { clock } from "../shell/times";
import { useLanguage } from "../shell/words";
import type { Happening } from "./types";

const GRAVE = new Set(["behind", "too_slow", "not_resumed"]);

/** What happened to a connection, the oldest first, in the recorder's own terms. */
export function Record({ entries }: { entries: readonly Happening[] }) {
  const [language] = useLanguage();
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by the keyboard too
    <ol className="plain admin-record" tabIndex={0}>
      {entries.map(({ at, what, ...fields }, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: entries have no other name, and never change places
        <li key={index} data-grave={GRAVE.has(what)}>
          <time dateTime={at} className="number">
            {clock(at, language, true)}
          </time>
          <code>{what}</code>
          <span className="wrap">
            {Object.entries(fields)
              .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
              .join(" · ")}
          </span>
        </li>
      ))}
    </ol>
  );
}
