import type { Connection } from "./connection.js";
import { AtriumError } from "./errors.js";

/** The server's HTTP API with a connection's token. Resolves to the body; rejects with AtriumError. */
export async function http(
  connection: Pick<Connection, "url" | "token">,
  method: string,
  path: string,
  body?: object,
): Promise<any> {
  const token = await connection.token();
  let answer = await request(connection.url + path, method, body, token);
  if (answer.status === 401) {
    const fresh = await connection.token(true);
    if (fresh !== token) answer = await request(connection.url + path, method, body, fresh);
  }
  const told = await answer.json().catch(() => undefined);
  if (!answer.ok) throw AtriumError.from(told?.error, answer.status < 500 ? "REFUSED" : "UNREACHABLE");
  return told;
}

async function request(url: string, method: string, body: object | undefined, token: string | null): Promise<Response> {
  try {
    return await fetch(url, {
      method,
      headers: {
        ...(token && { Authorization: `Bearer ${token}` }),
        ...(body && { "Content-Type": "application/json" }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
  } catch (cause) {
    throw new AtriumError("UNREACHABLE", String(cause), { cause });
  }
}
