import { useEffect, useState } from "react";
import { usePerson } from "../shell/identity";
import { useWords } from "../shell/words";
import { Broadcast } from "./broadcast";
import { Connections } from "./connections";
import { Missed } from "./missed";
import { Nodes } from "./nodes";
import { Overview } from "./overview";
import { Rooms } from "./rooms";
import { WORDS } from "./words";

const SECTIONS = {
  overview: Overview,
  connections: Connections,
  rooms: Rooms,
  nodes: Nodes,
  missed: Missed,
  broadcast: Broadcast,
} as const;
type Section = keyof typeof SECTIONS;

/** `#connections?q=alice`: a section, and what it is to show. */
const fromHash = (): { section: Section; fields: URLSearchParams } => {
  const [name = "", fields = ""] = location.hash.slice(1).split("?");
  return {
    section: Object.hasOwn(SECTIONS, name) ? (name as Section) : "overview",
    fields: new URLSearchParams(fields),
  };
};

export function Admin() {
  const t = useWords(WORDS);
  const person = usePerson();
  const [{ section, fields }, setShown] = useState(fromHash);
  useEffect(() => {
    const changed = () => setShown(fromHash());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);

  if (!person?.roles.includes("admin")) {
    return (
      <div className="empty stack">
        <h1>{t.forbidden}</h1>
        <p>{t.forbiddenWhy}</p>
      </div>
    );
  }
  const Shown = SECTIONS[section];
  return (
    <div className="frame-page admin">
      <nav className="admin-tabs" aria-label={t.sections}>
        {(Object.keys(SECTIONS) as Section[]).map((name) => (
          <a key={name} href={`#${name}`} aria-current={name === section ? "page" : undefined}>
            {t[name]}
          </a>
        ))}
      </nav>
      <h1 className="quiet">{t[section]}</h1>
      <Shown key={fields.toString()} fields={fields} />
    </div>
  );
}
