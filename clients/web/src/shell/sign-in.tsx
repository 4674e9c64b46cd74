import { type FormEvent, useId, useState } from "react";
import { useAbout } from "./about";
import { Dialog } from "./dialog";
import { signIn, signInAs } from "./identity";
import { tellError } from "./toasts";
import { useWords } from "./words";

/** Who the development server's people are: one click each. */
const PEOPLE = [
  { userId: "alice", roles: [] },
  { userId: "olga", roles: ["operator"] },
  { userId: "peter", roles: ["publisher"] },
  { userId: "ada", roles: ["admin", "publisher"] },
] as const;

export function SignIn({ onDone }: { onDone: () => void }) {
  const about = useAbout();
  const t = useWords({
    en: {
      title: "Sign in",
      development: "This is a development server: sign in as anyone.",
      other: "Someone else",
      name: "Name",
      roles: "Roles, separated by commas",
      enter: "Sign in",
      token: "Access token",
      paste: "Paste the token that your service gave you.",
      bad: "This is not a token.",
      cancel: "Cancel",
    },
    ko: {
      title: "로그인",
      development: "개발 서버입니다. 누구로든 들어올 수 있습니다.",
      other: "다른 사람",
      name: "이름",
      roles: "역할 (쉼표로 구분)",
      enter: "로그인",
      token: "접근 토큰",
      paste: "서비스에서 받은 토큰을 붙여 넣으세요.",
      bad: "토큰이 아닙니다.",
      cancel: "취소",
    },
  });
  const [fault, setFault] = useState("");
  const faultId = useId();

  const be = (userId: string, roles: readonly string[]) => signInAs(userId, roles).then(onDone, tellError);
  const submitted = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    if (about?.debug) {
      const roles = String(form.get("roles"))
        .split(",")
        .map((role) => role.trim())
        .filter(Boolean);
      void be(String(form.get("name")).trim(), roles);
    } else if (signIn(String(form.get("token")))) onDone();
    else setFault(t.bad);
  };

  return (
    <Dialog title={t.title} onClose={onDone}>
      {about?.debug && (
        <div className="stack">
          <p className="muted">{t.development}</p>
          <div className="row">
            {PEOPLE.map(({ userId, roles }) => (
              <button key={userId} type="button" onClick={() => void be(userId, roles)}>
                {userId}
                {roles.map((role) => (
                  <span key={role} className="badge">
                    {role}
                  </span>
                ))}
              </button>
            ))}
          </div>
          <h3>{t.other}</h3>
        </div>
      )}
      <form className="stack" onSubmit={submitted}>
        {about?.debug ? (
          <>
            <label>
              {t.name}
              <input name="name" required maxLength={100} autoComplete="username" />
            </label>
            <label>
              {t.roles}
              <input name="roles" maxLength={300} autoComplete="off" placeholder="operator, admin, publisher" />
            </label>
          </>
        ) : (
          <label>
            {t.token}
            <textarea
              name="token"
              required
              rows={5}
              autoComplete="off"
              spellCheck={false}
              aria-describedby={faultId}
              className="mono"
            />
            <span id={faultId} role="alert" className="small">
              {fault || t.paste}
            </span>
          </label>
        )}
        <footer>
          <button type="button" onClick={onDone}>
            {t.cancel}
          </button>
          <button type="submit" className="primary">
            {t.enter}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
