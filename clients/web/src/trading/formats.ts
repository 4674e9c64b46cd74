/** Numbers as a market writes them. */
import type { Language } from "../shell/words";

const formats = new Map<string, Intl.NumberFormat>();

const format = (language: Language, digits: number, compact = false): Intl.NumberFormat => {
  const key = `${language}${digits}${compact}`;
  let found = formats.get(key);
  if (found === undefined) {
    found = new Intl.NumberFormat(
      language,
      compact
        ? { notation: "compact", maximumFractionDigits: digits }
        : { minimumFractionDigits: digits, maximumFractionDigits: digits },
    );
    formats.set(key, found);
  }
  return found;
};

export const NONE = "–";

export const plain = (value: number, language: Language, digits = 0): string => format(language, digits).format(value);

/** From ten thousand on in short: 12.3K, 1.2만. */
export const short = (value: number, language: Language): string =>
  value < 10_000 ? plain(value, language) : format(language, 1, true).format(value);

/** ▲ 1,500, ▼ 300: the arrow is the sign, for whom colours say nothing. */
export const moved = (value: number | null, language: Language, digits: number): string => {
  if (value === null) return NONE;
  const arrow = value > 0 ? "▲ " : value < 0 ? "▼ " : "";
  return arrow + plain(Math.abs(value), language, digits);
};

export const percent = (value: number | null, language: Language): string =>
  value === null ? NONE : `${value > 0 ? "+" : value < 0 ? "−" : ""}${plain(Math.abs(value), language, 2)}%`;

/** Of a change, for a class or `data-`: what colours and arrows go by. */
export const way = (value: number | null): "up" | "down" | "flat" =>
  value === null || value === 0 ? "flat" : value > 0 ? "up" : "down";
