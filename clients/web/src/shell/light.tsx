import { useWords } from "./words";

export type LightState = "connecting" | "connected" | "reconnecting" | "failed" | "fallback" | "closed";

const SIGNS: Record<LightState, string> = {
  connecting: "🟡",
  connected: "🟢",
  reconnecting: "🟡",
  failed: "🔴",
  fallback: "🔵",
  closed: "⚪",
};

/** 🟢 connected 🟡 reconnecting 🔴 failed 🔵 HTTP fallback; a change is read out. */
export function Light({ state, onRetry }: { state: LightState; onRetry?: () => void }) {
  const t = useWords({
    en: {
      connecting: "Connecting",
      connected: "Connected",
      reconnecting: "Reconnecting",
      failed: "Not connected",
      fallback: "Over HTTP",
      closed: "Closed",
      retry: "Try again",
    },
    ko: {
      connecting: "연결 중",
      connected: "연결됨",
      reconnecting: "다시 연결 중",
      failed: "연결 끊김",
      fallback: "HTTP로 연결",
      closed: "닫힘",
      retry: "다시 시도",
    },
  });
  return (
    <span className="row">
      <span className="light" role="status" data-state={state}>
        <i aria-hidden="true">{SIGNS[state]}</i>
        {t[state]}
      </span>
      {state === "failed" && onRetry && (
        <button type="button" className="small" onClick={onRetry}>
          {t.retry}
        </button>
      )}
    </span>
  );
}
