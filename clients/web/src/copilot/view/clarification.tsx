import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { Dialog } from "../../shell/dialog";
import { span, useNow } from "../../shell/times";
import { useLanguage, useWords } from "../../shell/words";
import { PERSON_MS, type Prompt } from "../thread/conversation";
import { WORDS } from "../words";
import { Left } from "./card";

const MOST_LETTERS = 2000;
const ANNOUNCED = [60, 30, 10]; // seconds: a screen reader is not read every one

/** The server's question to the person: options by click, number or arrow, or an answer of their own. */
export function Clarification({
  prompt,
  onLater,
  onCancel,
}: {
  prompt: Prompt;
  onLater: () => void;
  onCancel: () => void;
}) {
  const t = useWords(WORDS);
  const [text, setText] = useState("");
  const list = useRef<HTMLUListElement>(null);
  const { exchange, asked, until, settle } = prompt;
  const options = exchange.options ?? [];

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) settle(text.trim().slice(0, MOST_LETTERS));
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const chosen = options[Number(event.key) - 1];
    if (/^[1-9]$/.test(event.key) && chosen !== undefined) settle(chosen);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step || !list.current) return;
    event.preventDefault();
    const buttons = [...list.current.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  };

  return (
    <Dialog title={t.clarifyTitle} onClose={onLater}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: keys for what has its own buttons inside */}
      <div className="stack copilot-clarify" onKeyDown={pressed}>
        <Countdown until={until} whole={PERSON_MS} />
        <p className="small muted wrap copilot-about">{t.about(asked.text)}</p>
        <p className="wrap copilot-question">{exchange.question}</p>
        {options.length > 0 && (
          <ul className="copilot-options" ref={list} aria-label={t.options}>
            {options.map((option, at) => (
              <li key={option}>
                <button type="button" onClick={() => settle(option)}>
                  {at < 9 && <kbd>{at + 1}</kbd>}
                  <span className="wrap">{option}</span>
                </button>
              </li>
            ))}
          </ul>
        )}
        <form onSubmit={submit} className="copilot-own">
          <label>
            {options.length ? t.own : t.ownOnly}
            <input
              value={text}
              maxLength={MOST_LETTERS}
              autoComplete="off"
              onChange={(event) => setText(event.target.value)}
            />
          </label>
          <button type="submit" className="primary" disabled={!text.trim()}>
            {t.answerIt}
          </button>
        </form>
      </div>
      <footer>
        <button type="button" className="danger push-left" onClick={onCancel}>
          {t.cancelAsked}
        </button>
        <button type="button" onClick={onLater}>
          {t.later}
        </button>
      </footer>
    </Dialog>
  );
}

export function Countdown({ until, whole }: { until: number; whole: number }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const left = Math.max(0, until - useNow(250));
  const seconds = Math.ceil(left / 1000);
  const [spoken, setSpoken] = useState("");
  useEffect(() => {
    if (ANNOUNCED.includes(seconds)) setSpoken(t.timeLeft(span(seconds * 1000, language)));
  }, [seconds, t, language]);
  return (
    <div className="copilot-countdown" data-short={seconds <= 10 || undefined}>
      <div aria-hidden="true">
        <i style={{ transform: `scaleX(${Math.min(1, left / whole)})` }} />
      </div>
      <span role="timer" className="small">
        <Left until={until} />
      </span>
      <span className="quiet" aria-live="polite">
        {spoken}
      </span>
    </div>
  );
}
