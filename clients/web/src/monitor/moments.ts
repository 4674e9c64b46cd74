/** Times of a plant: 24 hours, the date only where it is another day's, all by the server's clock. */
import type { Language } from "../shell/words";

const formats = new Map<string, Intl.DateTimeFormat>();

const format = (language: Language, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat => {
  const key = language + JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(language, { hourCycle: "h23", ...options });
    formats.set(key, found);
  }
  return found;
};

const HOUR: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
const DAY: Intl.DateTimeFormatOptions = { month: "short", day: "numeric" };

const shown = (at: string | number, language: Language, options: Intl.DateTimeFormatOptions): string => {
  const time = typeof at === "number" ? at : Date.parse(at);
  return Number.isFinite(time) ? format(language, options).format(time) : String(at);
};

export const timeOfDay = (at: string | number, language: Language, zone?: string): string =>
  shown(at, language, { ...HOUR, ...(zone && { timeZone: zone }) });

export const withSeconds = (at: string | number, language: Language): string =>
  shown(at, language, { ...HOUR, second: "2-digit" });

export const dayAndTime = (at: string | number, language: Language): string => shown(at, language, { ...DAY, ...HOUR });

export const dayOf = (at: string | number, language: Language, zone?: string): string =>
  shown(at, language, { ...DAY, weekday: "short", ...(zone && { timeZone: zone }) });

/** `now` is the server's. */
export const moment = (at: string, now: string | null, language: Language): string =>
  now !== null && new Date(at).toDateString() === new Date(now).toDateString()
    ? timeOfDay(at, language)
    : dayAndTime(at, language);

export const between = (from: string, to: string): number => Math.max(0, Date.parse(to) - Date.parse(from)) || 0;
