import { useAbout } from "../shell/about";
import { usePerson } from "../shell/identity";
import { dayAndClock } from "../shell/times";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { useHealth } from "./health";
import { WORDS } from "./words";

const TILES = [
  { path: "/chat", sign: "💬", name: "chat" },
  { path: "/trading", sign: "📈", name: "trading" },
  { path: "/monitor", sign: "🏭", name: "monitor" },
  { path: "/copilot", sign: "🧭", name: "copilot" },
  { path: "/admin", sign: "🛠", name: "admin" },
] as const;

export function Home() {
  const t = useWords(WORDS);
  const about = useAbout();
  const open = new Set(about?.namespaces.filter((each) => each.token === "optional").map((each) => each.path));

  return (
    <div className="frame-page">
      <div className="home-lead">
        <h1>{t.lead}</h1>
        <p className="muted">{about ? t.about(about.version, about.debug) : "Atrium"}</p>
      </div>
      <div className="grid home-tiles">
        {TILES.map(({ path, sign, name }) => (
          <a key={path} className="card home-tile" href={path}>
            <h2>
              <span aria-hidden="true">{sign}</span> <code>{path}</code>
              {open.has(path) && <span className="badge good push">{t.open}</span>}
            </h2>
            <p>{t[name]}</p>
          </a>
        ))}
      </div>
      <div className="home-split">
        <Health />
        <Token />
      </div>
    </div>
  );
}

function Health() {
  const t = useWords(WORDS);
  const health = useHealth();
  const state = health === null ? null : health === "away" ? "away" : health.status;
  return (
    <section className="card home-health" aria-live="polite">
      <h2 className="row">
        {t.health}
        {state && (
          <span className={`badge push ${state === "ready" ? "good" : "bad"}`}>
            {state === "ready" ? t.ready : state === "away" ? t.away : t.degraded}
          </span>
        )}
      </h2>
      <ul className="plain">
        {health !== null &&
          health !== "away" &&
          Object.entries(health.checks).map(([name, found]) => (
            <li key={name}>
              <code>{name}</code>
              <span className={`badge push ${found === "ok" ? "good" : "bad"}`}>
                {found === "ok" ? t.ok : t.failed}
              </span>
            </li>
          ))}
        <li>
          <a href="/asyncapi.json">{t.asyncapi}</a>
        </li>
        <li>
          <a href="/readyz">{t.readyz}</a>
        </li>
      </ul>
    </section>
  );
}

function Token() {
  const t = useWords(WORDS);
  const person = usePerson();
  const [language] = useLanguage();
  const command = `export ATRIUM_URL=${location.origin}\nexport ATRIUM_TOKEN=${person?.token}`;
  return (
    <section className="card home-token stack">
      <h2 className="row">
        {t.token}
        {person && (
          <button
            type="button"
            className="small push"
            onClick={() => void navigator.clipboard.writeText(command).then(() => tell(t.copied, "good"))}
          >
            {t.copy}
          </button>
        )}
      </h2>
      {person ? (
        <>
          <p className="muted small">
            {t.tokenWhy} {person.expiresAt && t.until(dayAndClock(person.expiresAt, language))}
          </p>
          <pre className="small">{command}</pre>
        </>
      ) : (
        <p className="muted">{t.signedOut}</p>
      )}
    </section>
  );
}
