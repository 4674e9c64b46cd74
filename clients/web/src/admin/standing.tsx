import type { AtriumError } from "atrium-client";
import { useWords } from "../shell/words";
import { WORDS } from "./words";

/** What is wrong with what is shown, if anything: an error, or nodes that did not answer. */
export function Standing({ fault, silent }: { fault: AtriumError | null; silent?: readonly string[] | undefined }) {
  const t = useWords(WORDS);
  if (fault) {
    return (
      <p className="note warn admin-stale" role="status">
        {t.signIn[fault.code] ?? t.stale(`${t.faults[fault.code] ?? fault.message} (${fault.code})`)}
      </p>
    );
  }
  if (silent && silent.length > 0) {
    return (
      <p className="note warn admin-stale" role="status">
        {t.silent(silent.join(", "))}
      </p>
    );
  }
  return null;
}
