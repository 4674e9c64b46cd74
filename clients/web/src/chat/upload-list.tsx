import { isPassing } from "atrium-client";
import { useSyncExternalStore } from "react";
import { useWords } from "../shell/words";
import { explain } from "./faults";
import { readable } from "./size";
import type { Uploads } from "./uploads";
import { WORDS } from "./words";

/** Files on their way: how far each is, and a way to stop it or to send it again. */
export function UploadList({ uploads }: { uploads: Uploads }) {
  const t = useWords(WORDS);
  const shown = useSyncExternalStore(uploads.subscribe, uploads.snapshot);
  if (shown.length === 0) return null;
  return (
    <ul className="chat-uploads plain" aria-label={t.uploads}>
      {shown.map(({ id, name, size, progress, error }) => (
        <li key={id} className="small">
          <span className="clip" title={name}>
            {name}
          </span>
          {error !== null ? (
            <>
              <span className="chat-fault" role="alert">
                {size === 0 ? t.emptyFile : explain(error, t)}
              </span>
              {isPassing(error) && (
                <button type="button" className="small" onClick={() => uploads.retry(id)}>
                  {t.sendAgain}
                </button>
              )}
            </>
          ) : (
            <>
              <span className="muted number">{readable(size)}</span>
              <progress max={1} value={progress ?? 0} aria-label={name} />
              <span className="muted number chat-percent">
                {progress === null ? t.queued : progress >= 1 ? t.finishing : t.uploading(Math.floor(progress * 100))}
              </span>
            </>
          )}
          <button
            type="button"
            className="small bare"
            aria-label={`${error === null ? t.cancel : t.discard}: ${name}`}
            title={error === null ? t.cancel : t.discard}
            onClick={() => uploads.cancel(id)}
          >
            ✕
          </button>
        </li>
      ))}
    </ul>
  );
}
