import { useEffect, useRef, useState } from "react";
import { usePerson } from "../shell/identity";
import { tell } from "../shell/toasts";
import { useWords } from "../shell/words";
import { openDatabase } from "./data/database";
import { DataSets } from "./data/sets";
import { Conversation } from "./thread/conversation";
import { Thread } from "./thread/thread";
import { Desk } from "./view/desk";
import { WORDS } from "./words";

export interface Opened {
  readonly sets: DataSets;
  readonly thread: Thread;
  readonly conversation: Conversation;
}

/** Opens the person's data, then connects: what the server asks for again after a reload is known by then. */
export function Page() {
  const t = useWords(WORDS);
  const person = usePerson();
  const [opened, setOpened] = useState<Opened | "failed" | null>(null);
  const words = useRef(t);
  words.current = t;
  const userId = person?.userId;
  const tenant = person?.tenant ?? null;

  useEffect(() => {
    if (userId === undefined) return;
    let close: (() => void) | null = null;
    let left = false;
    const open = async () => {
      const database = await openDatabase(userId, tenant);
      const [sets, thread] = [new DataSets(database), new Thread(database)];
      await Promise.all([sets.open(), thread.open()]);
      if (left) return sets.close();
      const conversation = new Conversation(thread, sets, (_, exchange) =>
        tell(
          exchange.until !== null && exchange.until - exchange.at > 100_000
            ? words.current.tooLate
            : words.current.taken,
        ),
      );
      window.addEventListener("pagehide", thread.flush);
      close = () => {
        window.removeEventListener("pagehide", thread.flush);
        conversation.close();
        sets.close();
      };
      setOpened({ sets, thread, conversation });
    };
    open().catch((error) => {
      console.warn(error);
      setOpened("failed");
    });
    return () => {
      left = true;
      close?.();
    };
  }, [userId, tenant]);

  if (opened === "failed")
    return (
      <div className="frame-page">
        <div className="note bad" role="alert">
          {t.noDatabase}
        </div>
      </div>
    );
  if (opened === null)
    return (
      <div className="copilot-opening muted" role="status">
        {t.loading}
      </div>
    );
  return <Desk {...opened} />;
}
