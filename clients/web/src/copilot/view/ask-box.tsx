import { type FormEvent, type KeyboardEvent, useRef, useState } from "react";
import { span, useNow } from "../../shell/times";
import { useLanguage, useWords } from "../../shell/words";
import { MOST_QUEUED, type Talk } from "../thread/conversation";
import { WORDS } from "../words";

const MOST_LETTERS = 2000;
const EXAMPLES = {
  en: [
    "top 3 services by cost last month",
    "AWS cost by month",
    "GCP daily cost in the last 30 days",
    "AWS cost by service this month compared to last month",
    "total budget by team this year",
  ],
  ko: [
    "지난달 서비스별 비용 상위 3개",
    "AWS 월별 비용",
    "최근 30일 GCP 일별 비용",
    "지난달 대비 이번 달 AWS 서비스별 비용",
    "올해 팀별 예산 합계",
  ],
} as const;

export function AskBox({ talk, queued, onAsk }: { talk: Talk; queued: number; onAsk: (text: string) => void }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const other = language === "ko" ? "en" : "ko";
  const full = queued >= MOST_QUEUED;

  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    const asked = text.trim();
    if (!asked || asked.length > MOST_LETTERS || full) return;
    onAsk(asked);
    setText("");
  };
  const pressed = (event: KeyboardEvent) => {
    // Enter also ends a syllable in Korean
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) submit(event);
  };
  const examples = [
    ...EXAMPLES[language].map((each) => [each, language] as const),
    ...EXAMPLES[other].slice(0, 2).map((each) => [each, other] as const),
  ];

  return (
    <form className="card copilot-ask" onSubmit={submit}>
      <div className="copilot-ask-row">
        <textarea
          ref={box}
          aria-label={t.question}
          aria-describedby="copilot-quota"
          placeholder={t.placeholder}
          rows={2}
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={pressed}
        />
        <button type="submit" className="primary" disabled={!text.trim() || text.trim().length > MOST_LETTERS || full}>
          {t.ask}
        </button>
      </div>
      <p id="copilot-quota" className="small muted copilot-quota">
        {text.trim().length > MOST_LETTERS ? (
          <span className="copilot-bad">{t.long(MOST_LETTERS)}</span>
        ) : full ? (
          <span className="copilot-bad">{t.full}</span>
        ) : talk.state !== "connected" ? (
          t.offline
        ) : talk.waitUntil !== null ? (
          <Waiting until={talk.waitUntil} />
        ) : talk.remaining !== null ? (
          t.remaining(talk.remaining)
        ) : null}
      </p>
      <fieldset className="copilot-examples" aria-label={t.examples}>
        {examples.map(([example, of]) => (
          <button
            key={example}
            type="button"
            className="copilot-chip"
            lang={of}
            onClick={() => {
              setText(example);
              box.current?.focus();
            }}
          >
            {example}
          </button>
        ))}
      </fieldset>
    </form>
  );
}

function Waiting({ until }: { until: number }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  return <span className="number copilot-warn">{t.waiting(span(until - useNow(500) + 999, language))}</span>;
}
