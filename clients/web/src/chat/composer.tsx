import type { ChatMessage } from "atrium-client";
import { type ClipboardEvent, type KeyboardEvent, useEffect, useId, useLayoutEffect, useRef, useState } from "react";
import { useWords } from "../shell/words";
import { bytesOf, MOST_BYTES, readable } from "./size";
import { WORDS } from "./words";

const drafts = new Map<string, string>(); // what was begun in other sessions
const MOST_DRAFTS = 50;
const TALLEST = 200; // pixels

const remember = (sessionId: string, text: string): void => {
  drafts.delete(sessionId);
  if (text !== "") drafts.set(sessionId, text);
  for (const oldest of drafts.keys()) {
    if (drafts.size <= MOST_DRAFTS) break;
    drafts.delete(oldest);
  }
};

const Clip = () => (
  <svg
    viewBox="0 0 20 20"
    width="20"
    height="20"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.6"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M14.5 9.5l-5.2 5.2a3.2 3.2 0 01-4.6-4.6l6-6a2.2 2.2 0 013.1 3.1l-5.9 5.9a1.1 1.1 0 01-1.6-1.6l5-5" />
  </svg>
);
const Arrow = () => (
  <svg
    viewBox="0 0 20 20"
    width="18"
    height="18"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="2"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M10 16V4M5 9l5-5 5 5" />
  </svg>
);

export function Composer({
  sessionId,
  editing,
  onSend,
  onSave,
  onCancelEdit,
  onEditLast,
  onTyping,
  onFiles,
}: {
  sessionId: string;
  editing: ChatMessage | null;
  /** Rejects what was not taken, which then is here again. */
  onSend: (content: string) => Promise<unknown>;
  onSave: (message: ChatMessage, content: string) => Promise<unknown>;
  onCancelEdit: () => void;
  onEditLast: () => void;
  onTyping: (isTyping: boolean) => void;
  onFiles: (files: readonly File[]) => void;
}) {
  const t = useWords(WORDS);
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const keysId = useId();
  const faultId = useId();
  const [text, setText] = useState(() => drafts.get(sessionId) ?? "");
  const [saving, setSaving] = useState(false);
  const draft = useRef("");

  // An edit takes the place of the draft, and gives it back.
  useEffect(() => {
    if (editing === null) return;
    setText((now) => {
      draft.current = now;
      return editing.content;
    });
    field.current?.focus();
    return () => setText(draft.current);
  }, [editing]);

  useEffect(() => {
    if (editing === null) remember(sessionId, text);
  }, [sessionId, text, editing]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: its height follows the text
  useLayoutEffect(() => {
    const shown = field.current;
    if (!shown) return;
    shown.style.height = "auto";
    shown.style.height = `${Math.min(TALLEST, shown.scrollHeight + 2)}px`;
  }, [text]);

  const bytes = text.length > MOST_BYTES / 6 ? bytesOf(text) : 0; // no letter takes more
  const over = bytes - MOST_BYTES;

  const submit = (): void => {
    const content = text.trim();
    if (content === "" || over > 0 || saving) return;
    onTyping(false);
    if (editing !== null) {
      setSaving(true);
      onSave(editing, content).then(
        () => setSaving(false),
        () => setSaving(false),
      );
      return;
    }
    setText("");
    onSend(content).catch(() => setText((now) => now || content));
    field.current?.focus();
  };

  const pressed = (event: KeyboardEvent<HTMLTextAreaElement>): void => {
    // A syllable that is being put together takes Enter for itself; Safari says so only by 229.
    if (event.nativeEvent.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && editing !== null) {
      event.preventDefault();
      onCancelEdit();
    } else if (event.key === "ArrowUp" && text === "" && editing === null) {
      event.preventDefault();
      onEditLast();
    }
  };

  const pasted = (event: ClipboardEvent<HTMLTextAreaElement>): void => {
    const files = [...event.clipboardData.files];
    if (files.length === 0) return;
    event.preventDefault();
    onFiles(files);
  };

  return (
    <form
      className="chat-composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {editing !== null && (
        <p className="chat-editing small">
          {t.editing}
          <button type="button" className="small bare push" onClick={onCancelEdit}>
            {t.cancel}
          </button>
        </p>
      )}
      {over > 0 && (
        <p id={faultId} className="note bad small chat-too-long" role="alert">
          {t.tooLong(readable(over), readable(MOST_BYTES))}
          {editing === null && (
            <button
              type="button"
              className="small push"
              onClick={() => {
                onFiles([new File([text], "message.txt", { type: "text/plain" })]);
                setText("");
              }}
            >
              {t.asFile}
            </button>
          )}
        </p>
      )}
      <div className="chat-composer-line">
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          tabIndex={-1}
          onChange={(event) => {
            onFiles([...(event.target.files ?? [])]);
            event.target.value = "";
          }}
        />
        <button
          type="button"
          className="bare chat-round"
          title={t.attach}
          aria-label={t.attach}
          disabled={editing !== null}
          onClick={() => picker.current?.click()}
        >
          <Clip />
        </button>
        <textarea
          ref={field}
          rows={1}
          value={text}
          aria-label={t.message}
          aria-describedby={over > 0 ? faultId : keysId}
          aria-invalid={over > 0}
          placeholder={t.placeholder}
          enterKeyHint="send"
          onChange={(event) => {
            setText(event.target.value);
            if (editing === null) onTyping(event.target.value !== "");
          }}
          onBlur={() => onTyping(false)}
          onKeyDown={pressed}
          onPaste={pasted}
        />
        <button
          type="submit"
          className="primary chat-round"
          title={editing ? t.save : t.send}
          aria-label={editing ? t.save : t.send}
          disabled={text.trim() === "" || over > 0 || saving}
        >
          <Arrow />
        </button>
      </div>
      <p id={keysId} className="quiet">
        {t.keys}
      </p>
    </form>
  );
}
