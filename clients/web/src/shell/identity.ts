/** Who this tab is: its token, kept for the tab's life, so that two tabs can be two people.
 *
 * A development server (`GET /api/about` says `debug`) mints tokens for anybody, and again before they run out; anywhere
 * else the person pastes one, or comes with it behind `#token=`.
 */
import { useSyncExternalStore } from "react";
import { request } from "./http";

export interface Person {
  readonly token: string;
  readonly userId: string;
  readonly roles: readonly string[];
  readonly tenant: string | null;
  readonly expiresAt: number | null; // in milliseconds since the epoch
  readonly minted: boolean;
}

const KEY = "atrium.token";
const MINTED_KEY = "atrium.minted";
const RENEW_BEFORE_MS = 90_000;

const listeners = new Set<() => void>();
let person: Person | null = null;

/** What the token says of itself; null if it is none. The server alone decides whether it is good. */
export const readToken = (token: string, minted: boolean): Person | null => {
  try {
    const part = token.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (letter) =>
      letter.charCodeAt(0),
    );
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims.sub !== "string") return null;
    return {
      token,
      userId: claims.sub,
      roles: [...new Set<string>([...(claims.realm_access?.roles ?? []), ...(claims.roles ?? [])])].filter(
        (role) => typeof role === "string",
      ),
      tenant: typeof claims.currentCompanyId === "string" ? claims.currentCompanyId : null,
      expiresAt: typeof claims.exp === "number" ? claims.exp * 1000 : null,
      minted,
    };
  } catch {
    return null;
  }
};

const become = (next: Person | null): void => {
  person = next;
  try {
    if (next === null) {
      sessionStorage.removeItem(KEY);
      sessionStorage.removeItem(MINTED_KEY);
    } else {
      sessionStorage.setItem(KEY, next.token);
      sessionStorage.setItem(MINTED_KEY, String(next.minted));
    }
  } catch {
    // storage is forbidden here: for this page only
  }
  for (const listener of listeners) listener();
};

/** With a token from elsewhere. Returns false if it is none. */
export const signIn = (token: string): boolean => {
  const found = readToken(token.trim(), false);
  if (found !== null) become(found);
  return found !== null;
};

/** With a token that a development server mints. Rejects with AtriumError where it does not. */
export const signInAs = async (
  userId: string,
  roles: readonly string[],
  tenant: string | null = null,
): Promise<void> => {
  become(await minted(userId, roles, tenant));
};

const minted = async (userId: string, roles: readonly string[], tenant: string | null): Promise<Person | null> => {
  const { token } = await request<{ token: string }>("/api/dev/token", {
    body: { sub: userId, roles, tenant },
    anonymous: true,
  });
  return readToken(token, true);
};

export const signOut = (): void => become(null);

export const currentPerson = (): Person | null => person;

/** For connections and requests: the token of now, a fresh one if it is about to run out and can be had. */
export const freshToken = async (): Promise<string | null> => {
  const old = person;
  if (old?.minted && old.expiresAt !== null && old.expiresAt - Date.now() < RENEW_BEFORE_MS) {
    const fresh = await minted(old.userId, old.roles, old.tenant).catch(() => null);
    if (fresh !== null && person === old) become(fresh); // nobody signed out, or in, meanwhile; else the old one is tried
  }
  return person?.token ?? null;
};

export const usePerson = (): Person | null =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => person,
  );

/** What became of a token in the address: it is of who was here already (or nobody was), of somebody else, or none. */
export type Handed = "same" | "other" | "bad";

/** Signs in by `#token=`, which must not stay in the address. Null where there is none. */
export const takeHanded = (): Handed | null => {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return null;
  history.replaceState(null, "", location.pathname + location.search);
  const before = person;
  if (!signIn(token)) return "bad";
  return before === null || (before.userId === person?.userId && before.tenant === person.tenant) ? "same" : "other";
};

const start = (): Handed | null => {
  try {
    const token = sessionStorage.getItem(KEY);
    if (token !== null) person = readToken(token, sessionStorage.getItem(MINTED_KEY) === "true");
  } catch {
    // as above
  }
  return takeHanded();
};

/** Of the address that the page was opened by. */
export const handedAtStart: Handed | null = start();
