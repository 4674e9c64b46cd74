import { type ReactNode, useEffect, useState } from "react";
import { currentPerson, type Handed, handedAtStart, signOut, takeHanded, usePerson } from "./identity";
import { SignIn } from "./sign-in";
import { THEMES, type Theme, useTheme } from "./theme";
import { Toasts, tell } from "./toasts";
import { useLanguage, useWords } from "./words";

export type PageName = "home" | "chat" | "trading" | "monitor" | "copilot" | "admin";

const PAGES: readonly { name: PageName; path: string }[] = [
  { name: "home", path: "/" },
  { name: "chat", path: "/chat" },
  { name: "trading", path: "/trading" },
  { name: "monitor", path: "/monitor" },
  { name: "copilot", path: "/copilot" },
  { name: "admin", path: "/admin" },
];

const WORDS = {
  en: {
    home: "Home",
    chat: "Chat",
    trading: "Trading",
    monitor: "Monitor",
    copilot: "Copilot",
    admin: "Admin",
    skip: "Skip to content",
    pages: "Pages",
    theme: "Theme",
    auto: "System",
    light: "Light",
    dark: "Dark",
    language: "한국어",
    signIn: "Sign in",
    signOut: "Sign out",
    needed: "Sign in to see this page.",
    other: (who: string) => `The link signed you in as ${who}.`,
    badLink: "The link holds no token that can be read.",
  },
  ko: {
    home: "홈",
    chat: "채팅",
    trading: "트레이딩",
    monitor: "모니터",
    copilot: "코파일럿",
    admin: "관리",
    skip: "본문으로",
    pages: "페이지",
    theme: "테마",
    auto: "시스템 설정",
    light: "밝게",
    dark: "어둡게",
    language: "English",
    signIn: "로그인",
    signOut: "로그아웃",
    needed: "이 페이지를 보려면 로그인하세요.",
    other: (who: string) => `링크를 통해 ${who} 님으로 로그인했습니다.`,
    badLink: "링크에 읽을 수 있는 토큰이 없습니다.",
  },
};

const SIGNS: Record<Theme, string> = { auto: "◐", light: "☀", dark: "☾" };

const Leave = () => (
  <svg
    viewBox="0 0 16 16"
    width="14"
    height="14"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.6"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <path d="M6.5 2.5h-3v11h3M10 5l3 3-3 3M13 8H6.5" />
  </svg>
);

/** `open`: the page is there for people without a token too. */
export function Frame({ page, open, children }: { page: PageName; open: boolean; children: ReactNode }) {
  const t = useWords(WORDS);
  const person = usePerson();
  const [theme, setTheme] = useTheme();
  const [language, setLanguage] = useLanguage();
  const [signing, setSigning] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: told once, in the language of that moment
  useEffect(() => {
    const told = (handed: Handed | null) => {
      if (handed === "other") tell(t.other(currentPerson()?.userId ?? ""));
      if (handed === "bad") tell(t.badLink, "bad");
    };
    const changed = () => told(takeHanded());
    told(handedAtStart);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] as Theme;

  return (
    <>
      <a className="skip" href="#main">
        {t.skip}
      </a>
      <header className="frame-header">
        <a className="frame-brand" href="/">
          <img src="/favicon.svg" alt="" width="24" height="24" />
          Atrium
        </a>
        <nav className="frame-nav" aria-label={t.pages}>
          {PAGES.map(({ name, path }) => (
            <a key={name} href={path} aria-current={name === page ? "page" : undefined}>
              {t[name]}
            </a>
          ))}
        </nav>
        <div className="frame-tools">
          <button
            type="button"
            className="bare small"
            lang={language === "ko" ? "en" : "ko"}
            onClick={() => setLanguage(language === "ko" ? "en" : "ko")}
          >
            {t.language}
          </button>
          <button
            type="button"
            className="bare small"
            title={`${t.theme}: ${t[theme]}`}
            aria-label={`${t.theme}: ${t[theme]}`}
            onClick={() => setTheme(next)}
          >
            {SIGNS[theme]}
          </button>
          {person ? (
            <button type="button" className="small" title={t.signOut} onClick={signOut}>
              <span className="clip frame-person">{person.userId}</span>
              <span className="quiet">{t.signOut}</span> <Leave />
            </button>
          ) : (
            <button type="button" className="small primary" onClick={() => setSigning(true)}>
              {t.signIn}
            </button>
          )}
        </div>
      </header>
      <main id="main" className="frame-main" tabIndex={-1}>
        {person || open ? (
          children
        ) : (
          <div className="empty stack">
            <p>{t.needed}</p>
            <p>
              <button type="button" className="primary" onClick={() => setSigning(true)}>
                {t.signIn}
              </button>
            </p>
          </div>
        )}
      </main>
      {signing && <SignIn onDone={() => setSigning(false)} />}
      <Toasts />
    </>
  );
}
