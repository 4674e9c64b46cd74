import type { ReactNode } from "react";
import { Dialog } from "../shell/dialog";
import { useWords } from "../shell/words";
import { WORDS } from "./words";

export interface Question {
  readonly title: string;
  readonly hint: ReactNode;
  readonly action: string;
  readonly onYes: () => void;
}

export function Confirm({ question, onClose }: { question: Question; onClose: () => void }) {
  const t = useWords(WORDS);
  return (
    <Dialog title={question.title} onClose={onClose}>
      <p className="wrap">{question.hint}</p>
      <footer>
        <button type="button" onClick={onClose}>
          {t.cancel}
        </button>
        <button
          type="button"
          className="danger"
          onClick={() => {
            onClose();
            question.onYes();
          }}
        >
          {question.action}
        </button>
      </footer>
    </Dialog>
  );
}
