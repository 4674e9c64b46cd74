import { type FormEvent, useId, useRef, useState } from "react";
import { Dialog } from "../shell/dialog";
import { usePerson } from "../shell/identity";
import { newId } from "../shell/ids";
import { tell } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import type { Desk } from "./desk";
import { plain } from "./formats";
import { TICKS } from "./ticks";
import { fault, WORDS } from "./words";

const EXAMPLES = {
  halt: { symbol: "005930", message: "VI 발동: 2분간 단일가 매매" },
  order_filled: { order_id: "A-1042", symbol: "005930", side: "buy", quantity: 10, price: 78100 },
  tick: { symbol: "005930", name: "삼성전자", price: 78100, change: 600, volume: 15 },
};

/** A message of one's own on any channel that one may publish on. Sent again after a failure it is published once. */
export function Publish({ desk, symbol, onDone }: { desk: Desk; symbol: string | null; onDone: () => void }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const person = usePerson();
  const [type, setType] = useState("halt");
  const [data, setData] = useState(JSON.stringify(EXAMPLES.halt, null, 2));
  const [problem, setProblem] = useState("");
  const [isSending, setSending] = useState(false);
  const attempt = useRef({ of: "", key: "" });
  const problemId = useId();
  const channelsId = useId();
  const suggested: [string, keyof typeof EXAMPLES][] = [
    ["alerts", "halt"],
    [`user:${person?.userId ?? ""}`, "order_filled"],
    [`${TICKS}${symbol ?? "005930"}`, "tick"],
  ];

  const submitted = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    let parsed: unknown;
    try {
      parsed = JSON.parse(data);
    } catch {
      setProblem(t.badJson);
      return;
    }
    const message = { channel: String(form.get("channel")).trim(), type: type.trim() || "message", data: parsed };
    const same = JSON.stringify(message);
    if (attempt.current.of !== same) attempt.current = { of: same, key: newId() };
    setProblem("");
    setSending(true);
    try {
      const { seq, subscribers } = await desk.connection.call("publish", {
        ...message,
        idempotency_key: attempt.current.key,
      });
      attempt.current = { of: "", key: "" };
      tell(t.receipt(plain(seq, language), plain(subscribers, language)), "good");
    } catch (error) {
      setProblem(fault((error as { code?: string }).code, t));
    } finally {
      setSending(false);
    }
  };

  return (
    <Dialog title={t.publishTitle} onClose={onDone}>
      <form className="stack" onSubmit={submitted}>
        <label>
          {t.channel}
          <input
            name="channel"
            required
            maxLength={200}
            autoComplete="off"
            defaultValue="alerts"
            list={channelsId}
            onChange={(event) => {
              const found = suggested.find(([name]) => name === event.currentTarget.value);
              if (found === undefined) return;
              setType(found[1]);
              setData(JSON.stringify(EXAMPLES[found[1]], null, 2));
            }}
          />
          <datalist id={channelsId}>
            {suggested.map(([name]) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        <label>
          {t.type}
          <input
            value={type}
            maxLength={64}
            autoComplete="off"
            className="mono"
            onChange={(event) => setType(event.currentTarget.value)}
          />
        </label>
        <label>
          {t.data}
          <textarea
            value={data}
            rows={7}
            spellCheck={false}
            className="mono"
            aria-describedby={problemId}
            onChange={(event) => setData(event.currentTarget.value)}
          />
        </label>
        <p id={problemId} role="alert" className="trading-problem small">
          {problem}
        </p>
        <footer>
          <button type="button" onClick={onDone}>
            {t.dismiss}
          </button>
          <button type="submit" className="primary" disabled={isSending}>
            {t.publish}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
