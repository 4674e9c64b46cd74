/** Files in messages. They are fetched with the token, which an address cannot carry, and shown as blobs. */
import { useEffect, useState } from "react";
import { Dialog } from "../shell/dialog";
import { ask } from "../shell/http";
import { useWords } from "../shell/words";
import { tellFault } from "./faults";
import { readable } from "./size";
import { WORDS } from "./words";

export interface FileInfo {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly url: string;
  readonly thumbnail: string | null;
}

const OURS = /^\/files\/[\w-]+(\/thumb)?$/; // whatever a message says: only these are asked for with the token
const SHOWN = /^image\/(png|jpeg|gif|webp)$/;

/** What a message's metadata say of its file; null if it has none, or none that is ours. Whoever said it wrote them. */
export const fileOf = (metadata: Readonly<Record<string, unknown>>): FileInfo | null => {
  const file = metadata.file as Partial<Record<string, unknown>> | null | undefined;
  if (typeof file !== "object" || file === null || typeof file.url !== "string" || !OURS.test(file.url)) return null;
  const thumbnail = typeof file.thumbnail_url === "string" && OURS.test(file.thumbnail_url) ? file.thumbnail_url : null;
  return {
    name: typeof file.name === "string" ? file.name : "",
    type: typeof file.type === "string" ? file.type : "",
    size: typeof file.size === "number" ? file.size : 0,
    url: file.url,
    thumbnail,
  };
};

const MOST_KEPT = 60;

interface Kept {
  readonly url: Promise<string>;
  users: number;
}

const kept = new Map<string, Kept>(); // in the order of use

const fetched = async (path: string): Promise<string> => {
  const response = await ask(path);
  return URL.createObjectURL(await response.blob());
};

/** The blob's address stays good until `release`; a few more are kept for who scrolls back. */
const hold = (path: string): Kept => {
  const found = kept.get(path) ?? { url: fetched(path), users: 0 };
  found.users++;
  kept.delete(path);
  kept.set(path, found);
  found.url.catch(() => kept.get(path) === found && kept.delete(path));
  return found;
};

const release = (held: Kept): void => {
  held.users--;
  for (const [path, each] of kept) {
    if (kept.size <= MOST_KEPT) break;
    if (each.users > 0) continue;
    kept.delete(path);
    void each.url.then(URL.revokeObjectURL, () => undefined);
  }
};

/** Null until it is there; "failed" if it does not come. */
const useBlob = (path: string | null): string | "failed" | null => {
  const [shown, setShown] = useState<string | null>(null);
  useEffect(() => {
    if (path === null) return;
    let ended = false;
    const held = hold(path);
    held.url.then(
      (url) => ended || setShown(url),
      () => ended || setShown("failed"),
    );
    return () => {
      ended = true;
      setShown(null);
      release(held);
    };
  }, [path]);
  return shown;
};

const save = async (file: FileInfo): Promise<void> => {
  const response = await ask(file.url);
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = file.name || "file";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has begun to read it by then
};

const sign = (type: string): string =>
  type.startsWith("image/") ? "🖼" : type === "application/pdf" ? "📕" : type.startsWith("text/") ? "📄" : "📎";

export function Attachment({ file }: { file: FileInfo }) {
  const t = useWords(WORDS);
  const thumbnail = useBlob(file.thumbnail);
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const isShown = SHOWN.test(file.type);
  const download = () => {
    setBusy(true);
    save(file)
      .catch((error) => tellFault(error, t))
      .finally(() => setBusy(false));
  };
  return (
    <div className="chat-file">
      {file.thumbnail && (
        <button
          type="button"
          className="bare chat-thumb"
          aria-label={`${isShown ? t.open : t.download}: ${file.name}`}
          onClick={isShown ? () => setOpen(true) : download}
        >
          {thumbnail === "failed" ? (
            <span className="small muted">{t.noPreview}</span>
          ) : (
            thumbnail && <img src={thumbnail} alt={file.name} />
          )}
        </button>
      )}
      <div className="chat-file-line">
        {!file.thumbnail && <span aria-hidden="true">{sign(file.type)}</span>}
        <span className="clip" title={file.name}>
          {file.name}
        </span>
        <span className="small muted number">{readable(file.size)}</span>
        <button
          type="button"
          className="bare small"
          disabled={busy}
          title={t.download}
          aria-label={`${t.download}: ${file.name}`}
          onClick={download}
        >
          ↓
        </button>
      </div>
      {open && <Picture file={file} onClose={() => setOpen(false)} onDownload={download} />}
    </div>
  );
}

function Picture({ file, onClose, onDownload }: { file: FileInfo; onClose: () => void; onDownload: () => void }) {
  const t = useWords(WORDS);
  const url = useBlob(file.url);
  return (
    <Dialog title={file.name} onClose={onClose}>
      <div className="chat-picture">
        {url === "failed" ? <p className="muted">{t.noPreview}</p> : url && <img src={url} alt={file.name} />}
      </div>
      <footer>
        <button type="button" onClick={onDownload}>
          {t.download}
        </button>
        <button type="button" className="primary" onClick={onClose}>
          {t.close}
        </button>
      </footer>
    </Dialog>
  );
}
