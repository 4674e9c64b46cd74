/** What this browser watches: symbols in their order, or all there are; kept from visit to visit. */

export interface Watched {
  readonly all: boolean;
  readonly symbols: readonly string[];
  /** Whose chart is shown; null: the first one's. */
  readonly chosen: string | null;
}

/** A connection may be in some hundred rooms, and has others too. */
export const MOST_WATCHED = 80;
const KEY = "atrium.trading.watched";
const FIRST: Watched = { all: true, symbols: [], chosen: null };
const MOST_LETTERS = 100;

/** As it may be the name of a channel; null if it may not. */
export const asSymbol = (text: string): string | null => {
  const symbol = text.trim().replace(/^ticks:/, "");
  return symbol !== "" && symbol.length <= MOST_LETTERS && !/[\s*\p{Cc}]/u.test(symbol) ? symbol : null;
};

export const remembered = (): Watched => {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "null");
    if (typeof found !== "object" || found === null || !Array.isArray(found.symbols)) return FIRST;
    const symbols = found.symbols.map((each: unknown) => (typeof each === "string" ? asSymbol(each) : null));
    return {
      all: found.all !== false,
      symbols: [...new Set<string>(symbols.filter((each: string | null) => each !== null))].slice(0, MOST_WATCHED),
      chosen: typeof found.chosen === "string" ? found.chosen : null,
    };
  } catch {
    return FIRST; // storage is forbidden here, or somebody else wrote there
  }
};

export const remember = (watched: Watched): void => {
  try {
    localStorage.setItem(KEY, JSON.stringify(watched));
  } catch {
    // as above: for this page only
  }
};
