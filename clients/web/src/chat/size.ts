/** Bytes as people read them, and how many of them a message may have. */

const encoder = new TextEncoder();

/** WS_MESSAGE_SIZE_LIMIT at its default, less what stands around a text: event, ids, and how JSON writes it. */
export const MOST_BYTES = 65_536 - 512;

/** As it travels: in UTF-8, inside of JSON. */
export const bytesOf = (content: string): number => encoder.encode(JSON.stringify(content)).length - 2;

export const readable = (bytes: number): string => {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${(bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0)} KB`;
  return `${(bytes / 1_048_576).toFixed(1)} MB`;
};
