/** Times as people read them, in their language and zone. What is not a time stays as it is: nothing throws. */
import { useEffect, useState } from "react";
import type { Language } from "./words";

const valid = (at: string | number | Date): Date | null => {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? null : date;
};

export const clock = (at: string | number | Date, language: Language, seconds = false): string =>
  valid(at)?.toLocaleTimeString(language, {
    hourCycle: "h23",
    hour: "2-digit",
    minute: "2-digit",
    ...(seconds && { second: "2-digit" }),
  }) ?? String(at);

export const day = (at: string | number | Date, language: Language): string =>
  valid(at)?.toLocaleDateString(language, { year: "numeric", month: "short", day: "numeric" }) ?? String(at);

export const dayAndClock = (at: string | number | Date, language: Language): string =>
  `${day(at, language)} ${clock(at, language)}`;

/** "3 min", "2 h 10 min"; never negative: clocks differ. */
export const span = (milliseconds: number, language: Language): string => {
  const [days, hours, minutes, seconds] = language === "ko" ? ["일", "시간", "분", "초"] : [" d", " h", " min", " s"];
  const all = Math.max(0, Math.floor(milliseconds / 1000));
  const parts: [number, string | undefined][] = [
    [Math.floor(all / 86_400), days],
    [Math.floor(all / 3600) % 24, hours],
    [Math.floor(all / 60) % 60, minutes],
    [all % 60, seconds],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return `0${seconds}`;
  return parts
    .slice(first, first === 3 ? 4 : first + 2)
    .filter(([count], index) => index === 0 || count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ");
};

/** The time, again every so many milliseconds. */
export const useNow = (every = 1000): number => {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
};
