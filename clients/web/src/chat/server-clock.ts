/** What time it is by the server: this machine's clock may be off by a day. */
let offset = 0;

/** `serverTime` as `connected` tells it. What is no time changes nothing. */
export const setServerTime = (serverTime: unknown): void => {
  const at = Date.parse(String(serverTime));
  if (!Number.isNaN(at)) offset = at - Date.now();
};

export const serverNow = (): Date => new Date(Date.now() + offset);
