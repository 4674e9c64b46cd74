import { memo } from "react";

const COLOURS = 6;

/** One of a few colours, the same for the same name everywhere. */
const colourOf = (name: string): number => {
  let sum = 0;
  for (const letter of name.slice(0, 100)) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
  return sum % COLOURS;
};

const initials = (name: string): string => {
  const [first = "?", second] = name
    .trim()
    .split(/[\s._@-]+/u)
    .filter(Boolean);
  const letter = (word: string) => [...word][0]?.toUpperCase() ?? "";
  return letter(first) + (second ? letter(second) : "");
};

const Robot = () => (
  <svg
    viewBox="0 0 20 20"
    width="60%"
    height="60%"
    aria-hidden="true"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.7"
    strokeLinecap="round"
    strokeLinejoin="round"
  >
    <rect x="3.5" y="7" width="13" height="9" rx="2.5" />
    <path d="M10 7V3.5M7.5 11v1.2M12.5 11v1.2M1.5 10.5v2.5M18.5 10.5v2.5" />
    <circle cx="10" cy="3" r="1" fill="currentColor" />
  </svg>
);

/** Decoration: the name stands beside it. `here`: with a presence dot, which is told in words elsewhere. */
export const Avatar = memo(function Avatar({
  name,
  robot = false,
  here,
  small = false,
}: {
  name: string;
  robot?: boolean;
  here?: boolean | undefined;
  small?: boolean;
}) {
  return (
    <span
      className={`chat-avatar ${robot ? "robot" : `colour-${colourOf(name)}`}${small ? " small" : ""}`}
      aria-hidden="true"
    >
      {robot ? <Robot /> : initials(name)}
      {here !== undefined && <i className={here ? "here" : "away"} />}
    </span>
  );
});
