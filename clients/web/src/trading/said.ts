/** What a published message says, as text: publishers give it any shape. */
import type { ChannelMessage } from "atrium-client";

const MOST_LETTERS = 200;
const WORDY = ["message", "text", "title", "content"] as const;

/** Who wrote it, where it is chat. */
export const writer = (message: ChannelMessage<unknown>): string | null =>
  typeof message.user_id === "string" ? message.user_id : null;

/** In a line or a few; `isCut` where there is more of it. */
export const said = (message: ChannelMessage<unknown>): { text: string; isCut: boolean } => {
  const text = inWords(message);
  return text.length > MOST_LETTERS ? { text: `${text.slice(0, MOST_LETTERS)}…`, isCut: true } : { text, isCut: false };
};

export const whole = (message: ChannelMessage<unknown>): string =>
  typeof message.message === "string" ? message.message : JSON.stringify(message.data, null, 2);

const inWords = ({ message, data }: ChannelMessage<unknown>): string => {
  if (typeof message === "string") return message;
  if (typeof data !== "object" || data === null) return String(data);
  if (Array.isArray(data)) return JSON.stringify(data);
  const fields = Object.entries(data);
  const wordy = WORDY.find((name) => typeof (data as Record<string, unknown>)[name] === "string");
  const others = fields
    .filter(([name]) => name !== wordy)
    .map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" · ");
  const first = wordy === undefined ? "" : String((data as Record<string, unknown>)[wordy]);
  return first && others ? `${first} (${others})` : first || others || "{}";
};
