import { useState } from "react";
import { signOut } from "../shell/identity";
import { Light, type LightState } from "../shell/light";
import { endedBy } from "../shell/notices";
import { SignIn } from "../shell/sign-in";
import { useLanguage, useWords } from "../shell/words";
import { dayAndTime, withSeconds } from "./moments";
import type { Link, PlantSnapshot } from "./plant";
import { useSound } from "./sound";
import { Shape, STATUSES } from "./status";
import type { View } from "./view";
import { WORDS } from "./words";

const LIGHTS: Record<Link, LightState> = {
  connecting: "connecting",
  live: "connected",
  silent: "reconnecting",
  reconnecting: "reconnecting",
  failed: "failed",
  refused: "failed",
};

interface Props {
  plant: PlantSnapshot;
  view: View;
  onView: (change: Partial<View>) => void;
  onRetry: () => void;
}

/** How many are how, the server's time, the link; and what is shown of it. It stays when the frame is hidden. */
export function Strip({ plant, view, onView, onRetry }: Props) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [sound, setSound] = useSound();
  const { link, now, machines, lines, alarms } = plant;
  const lost = link !== "live" && link !== "connecting";
  const waiting = alarms.filter((each) => !each.acknowledged_at && !each.shelved_until).length;

  return (
    <div className="monitor-strip" data-link={link}>
      <div className="monitor-summary">
        {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms */}
        <div className="monitor-chips" role="group" aria-label={t.filters} data-hidden={lost}>
          {STATUSES.map((status) => {
            const count = machines.filter((each) => each.status === status).length;
            const pressed = view.status === status;
            return (
              <button
                key={status}
                type="button"
                className="monitor-chip"
                data-status={status}
                data-none={count === 0}
                aria-pressed={pressed}
                aria-label={t.only(t[status], count)}
                title={pressed ? t.everything : t.only(t[status], count)}
                onClick={() => onView({ status: pressed ? null : status })}
              >
                <Shape status={status} />
                <span className="monitor-chip-word">{t[status]}</span>
                <b className="number">{count}</b>
              </button>
            );
          })}
        </div>
        {lost && <Lost plant={plant} onRetry={onRetry} />}
      </div>
      <div className="monitor-tools">
        {(lines.length > 1 || view.line !== null) && (
          <select
            className="monitor-line"
            aria-label={t.line}
            value={view.line ?? ""}
            onChange={(event) => onView({ line: event.target.value || null })}
          >
            <option value="">{t.allLines}</option>
            {[...new Set([...lines, ...(view.line === null ? [] : [view.line])])].map((line) => (
              <option key={line} value={line}>
                {line}
              </option>
            ))}
          </select>
        )}
        {view.wall ? (
          <span className="monitor-wall-alarms" data-any={waiting > 0}>
            {t.alarmCount(waiting)}
          </span>
        ) : (
          <a className="monitor-wall-alarms" href="#alarms" data-any={waiting > 0}>
            {t.alarmCount(waiting)}
          </a>
        )}
        <span
          className="monitor-clock number"
          title={now === null ? t.serverTime : `${t.serverTime}: ${dayAndTime(now, language)}`}
        >
          <i key={now} className="monitor-beat" data-live={link === "live"} aria-hidden="true" />
          {now === null ? "--:--:--" : withSeconds(now, language)}
        </span>
        <Light state={LIGHTS[link]} />
        <button
          type="button"
          className="bare small"
          aria-pressed={sound}
          aria-label={t.sound}
          title={sound ? t.soundOn : t.soundOff}
          onClick={() => setSound(!sound)}
        >
          <Speaker on={sound} />
        </button>
        <button
          type="button"
          className="small"
          title={view.wall ? t.leaveWall : t.wall}
          onClick={() => onView({ wall: !view.wall })}
        >
          <Screen />
          <span className="monitor-wall-word">{view.wall ? t.leaveWall : t.wall}</span>
        </button>
      </div>
    </div>
  );
}

/** In place of the counts, which nobody knows now. */
function Lost({ plant, onRetry }: { plant: PlantSnapshot; onRetry: () => void }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [signing, setSigning] = useState(false);
  const { link, now, error } = plant;
  const token = link === "refused" && (error?.code.startsWith("TOKEN_") ?? false);
  const missing = error?.code === "TOKEN_MISSING";
  const why = {
    reconnecting: t.trying,
    silent: t.silent,
    failed: t.gaveUp,
    refused: token
      ? missing
        ? t.needsSignIn
        : t.signInAgain
      : (endedBy(error) ?? `${t.refused} ${error?.message ?? ""} (${error?.code ?? ""})`),
  } as Partial<Record<Link, string>>;
  return (
    <div className="monitor-lost">
      <p>
        <strong>{now === null ? t.neverConnected : t.noConnection(withSeconds(now, language))}</strong> {why[link]}
      </p>
      {token && (
        <button type="button" className="small" onClick={() => setSigning(true)}>
          {t.signIn}
        </button>
      )}
      {token && !missing && (
        <button type="button" className="small" onClick={signOut}>
          {t.signOut}
        </button>
      )}
      {!token && link !== "silent" && (
        <button type="button" className="small" onClick={onRetry}>
          {t.retry}
        </button>
      )}
      {signing && <SignIn onDone={() => setSigning(false)} />}
    </div>
  );
}

const Speaker = ({ on }: { on: boolean }) => (
  <svg
    viewBox="0 0 20 20"
    width="18"
    height="18"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.7"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M3 7.5v5h3l4 3.5V4L6 7.5z" fill="currentColor" />
    <path d={on ? "M13 7a4 4 0 0 1 0 6M15.5 4.5a8 8 0 0 1 0 11" : "m13.5 8 4 4m0-4-4 4"} />
  </svg>
);

const Screen = () => (
  <svg
    viewBox="0 0 20 20"
    width="16"
    height="16"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.7"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M3 7V3.5h4M13 3.5h4V7M17 13v3.5h-4M7 16.5H3V13" />
  </svg>
);
