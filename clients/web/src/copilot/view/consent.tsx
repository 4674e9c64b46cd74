import { Dialog } from "../../shell/dialog";
import { useWords } from "../../shell/words";
import { DATA_MS, type Prompt } from "../thread/conversation";
import { WORDS } from "../words";
import { Countdown } from "./clarification";

/** For who wants to be asked before anything leaves the browser. */
export function Consent({ prompt }: { prompt: Prompt }) {
  const t = useWords(WORDS);
  const { exchange, asked, settle } = prompt;
  const what =
    exchange.kind === "data"
      ? t.consentData(exchange.count ?? 0)
      : t.consentRows(exchange.count ?? 0, exchange.dataset ?? "");
  return (
    <Dialog title={t.consentTitle} onClose={() => settle(null)}>
      <div className="stack">
        <Countdown until={prompt.until} whole={DATA_MS} />
        <p className="small muted wrap copilot-about">{t.about(asked.text)}</p>
        <p className="wrap">
          <b>{what}</b> <span className="muted">({t.size(exchange.bytes ?? 0)})</span>
        </p>
      </div>
      <footer>
        <button type="button" className="danger" onClick={() => settle(null)}>
          {t.deny}
        </button>
        <button type="button" onClick={() => settle("once")}>
          {t.allow}
        </button>
        <button type="button" className="primary" onClick={() => settle("all")}>
          {t.allowAll}
        </button>
      </footer>
    </Dialog>
  );
}
