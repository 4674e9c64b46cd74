/** The server's HTTP API as this tab's person. Every failure is an `AtriumError` with a stable code. */
import { AtriumError } from "atrium-client";
import { freshToken } from "./identity";

export interface Request {
  method?: string;
  body?: unknown; // JSON, or FormData as it is
  signal?: AbortSignal;
  anonymous?: boolean;
}

const TIMEOUT_MS = 20_000;

/** What it answered. Rejects with AtriumError: the server's, or `UNREACHABLE`. */
export const ask = async (path: string, { method, body, signal, anonymous }: Request = {}): Promise<Response> => {
  const token = anonymous ? null : await freshToken();
  const json = body !== undefined && !(body instanceof FormData);
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(path, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: {
        ...(token && { Authorization: `Bearer ${token}` }),
        ...(json && { "Content-Type": "application/json" }),
      },
      ...(body !== undefined && { body: json ? JSON.stringify(body) : (body as FormData) }),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new AtriumError("UNREACHABLE", "The server does not answer", { cause: error });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw AtriumError.from(told?.error ?? { message: response.statusText }, `HTTP_${response.status}`);
};

export const request = async <T>(path: string, options?: Request): Promise<T> => (await ask(path, options)).json();
