/** Korean and English. A page's words are a table with both; what needs a value in it is a function. */
import { useSyncExternalStore } from "react";
import { Remembered } from "./remembered";

export type Language = "en" | "ko";
export const LANGUAGES: readonly Language[] = ["en", "ko"];

type Word = string | ((...values: never[]) => string) | Readonly<Record<string, string>>;
export type Words = Record<string, Word>;

/** `const t = useWords({ en: { send: "Send" }, ko: { send: "보내기" } }); t.send` */
export const useWords = <T extends Words>(table: {
  en: T;
  ko: { [K in keyof T]: T[K] extends string ? string : T[K] };
}): T => table[useLanguage()[0]] as T;

const remembered = new Remembered<Language>(
  "atrium.language",
  LANGUAGES,
  navigator.language.startsWith("ko") ? "ko" : "en",
);
const show = (): void => {
  document.documentElement.lang = remembered.value;
};
show();
remembered.subscribe(show);

/** As `useWords`, outside React: in the language of this moment. */
export const wordsNow = <T extends Words>(table: Record<Language, T>): T => table[remembered.value];

export const useLanguage = (): [Language, (language: Language) => void] => [
  useSyncExternalStore(remembered.subscribe, () => remembered.value),
  remembered.set,
];
