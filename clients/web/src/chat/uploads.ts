/** Files on their way into one session: a form each, by XMLHttpRequest, which alone tells how much has gone. */
import { AtriumError } from "atrium-client";
import { freshToken } from "../shell/identity";

export interface Upload {
  readonly id: number;
  readonly name: string;
  readonly size: number;
  /** From 0 to 1; null while it waits for its turn. */
  readonly progress: number | null;
  readonly error: unknown;
}

const AT_ONCE = 2; // the server takes four of one person
export const MOST_FILES = 20;

interface Entry {
  upload: Upload;
  file: File;
  message: string;
  request: XMLHttpRequest | null;
}

export class Uploads {
  #entries: Entry[] = [];
  #last = 0;
  #snapshot: readonly Upload[] = [];
  #listeners = new Set<() => void>();
  #closed = false;

  constructor(private readonly sessionId: string) {}

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): readonly Upload[] => this.#snapshot;

  /** False when there are too many. */
  add(files: readonly File[], message = ""): boolean {
    if (this.#entries.length + files.length > MOST_FILES) return false;
    for (const file of files) {
      const upload = { id: ++this.#last, name: file.name, size: file.size, progress: null, error: null };
      this.#entries.push({ upload, file, message, request: null });
    }
    this.#next();
    return true;
  }

  cancel(id: number): void {
    const entry = this.#entries.find((each) => each.upload.id === id);
    this.#entries = this.#entries.filter((each) => each !== entry);
    entry?.request?.abort();
    this.#next();
  }

  retry(id: number): void {
    const entry = this.#entries.find((each) => each.upload.id === id);
    if (entry === undefined || entry.request !== null) return;
    entry.upload = { ...entry.upload, progress: null, error: null };
    this.#next();
  }

  close(): void {
    this.#closed = true;
    for (const { request } of this.#entries.splice(0)) request?.abort();
  }

  #next(): void {
    const free = AT_ONCE - this.#entries.filter(({ request }) => request !== null).length;
    const waiting = this.#entries.filter(({ request, upload }) => request === null && upload.error === null);
    for (const entry of waiting.slice(0, Math.max(0, free))) void this.#send(entry);
    this.#changed();
  }

  async #send(entry: Entry): Promise<void> {
    const request = new XMLHttpRequest();
    entry.request = request;
    const done = (error: unknown): void => {
      entry.request = null;
      if (error === null) this.#entries = this.#entries.filter((each) => each !== entry);
      else entry.upload = { ...entry.upload, progress: null, error };
      if (!this.#closed) this.#next();
    };
    if (entry.file.size === 0) {
      done(new AtriumError("INVALID_MESSAGE", "empty"));
      return;
    }
    const token = await freshToken();
    if (!this.#entries.includes(entry)) return; // cancelled meanwhile
    const form = new FormData();
    if (entry.message !== "") form.append("message", entry.message);
    form.append("file", entry.file, entry.file.name || "file");
    request.upload.onprogress = ({ loaded, total }) => {
      entry.upload = { ...entry.upload, progress: total > 0 ? loaded / total : 0 };
      this.#changed();
    };
    request.onload = () => done(request.status === 201 ? null : refusal(request));
    request.onerror = () => done(new AtriumError("UNREACHABLE", "The upload was cut off"));
    request.ontimeout = request.onerror;
    request.onabort = () => done(null);
    request.open("POST", `/api/chat/sessions/${encodeURIComponent(this.sessionId)}/files`);
    if (token !== null) request.setRequestHeader("Authorization", `Bearer ${token}`);
    entry.upload = { ...entry.upload, progress: 0 };
    this.#changed();
    request.send(form);
  }

  #changed(): void {
    this.#snapshot = this.#entries.map(({ upload }) => upload);
    for (const listener of [...this.#listeners]) listener();
  }
}

const refusal = (request: XMLHttpRequest): AtriumError => {
  try {
    return AtriumError.from(JSON.parse(request.responseText).error);
  } catch {
    return new AtriumError(request.status === 413 ? "MESSAGE_TOO_BIG" : `HTTP_${request.status}`, request.statusText);
  }
};
