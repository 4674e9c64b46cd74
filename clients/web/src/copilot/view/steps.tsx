import { useNow } from "../../shell/times";
import { useWords } from "../../shell/words";
import { type Asked, isOpen } from "../thread/asked";
import { type CopilotWords, WORDS } from "../words";

const SECOND = 1000;

export const took = (milliseconds: number, t: CopilotWords): string =>
  milliseconds < SECOND
    ? t.milliseconds(Math.max(0, Math.round(milliseconds)))
    : t.seconds((milliseconds / SECOND).toFixed(1));

/** The steps as the server told of them, with how long each took. */
export function Steps({ asked }: { asked: Asked }) {
  const t = useWords(WORDS);
  const open = isOpen(asked);
  return (
    <ol className="copilot-steps" aria-label={t.steps}>
      {asked.steps.map(({ stage, at }, index) => {
        const last = index === asked.steps.length - 1;
        const until = asked.steps[index + 1]?.at ?? asked.until;
        return (
          <li
            key={`${stage}-${at}`}
            data-active={(last && open) || undefined}
            data-broken={(last && asked.state === "failed") || undefined}
          >
            <span>{stage === "again" ? t.restarted : t[stage]}</span>
            <span className="muted number">
              {last && open ? <Running since={at} /> : until !== null ? took(until - at, t) : null}
            </span>
          </li>
        );
      })}
    </ol>
  );
}

function Running({ since }: { since: number }) {
  const t = useWords(WORDS);
  return <>{t.seconds((Math.max(0, useNow(200) - since) / SECOND).toFixed(1))}</>;
}
