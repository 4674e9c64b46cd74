import { useWords } from "../shell/words";
import { WORDS } from "./words";

/** Where one is in a long list, and the ways on. */
export function Pages({
  offset,
  shown,
  total,
  limit,
  onOffset,
}: {
  offset: number;
  shown: number;
  total: number;
  limit: number;
  onOffset: (offset: number) => void;
}) {
  const t = useWords(WORDS);
  return (
    <div className="admin-pages">
      <button
        type="button"
        className="small"
        disabled={offset === 0}
        onClick={() => onOffset(Math.max(0, offset - limit))}
      >
        {t.previous}
      </button>
      <span className="small muted number" role="status">
        {total === 0 ? "" : t.page(offset + 1, offset + shown, total)}
      </span>
      <button
        type="button"
        className="small"
        disabled={offset + shown >= total}
        onClick={() => onOffset(offset + limit)}
      >
        {t.next}
      </button>
    </div>
  );
}
