/** What went wrong, in the person's language, with what to do. */
import { AtriumError } from "atrium-client";
import { endedBy } from "../shell/notices";
import { tell } from "../shell/toasts";
import type { ChatWords } from "./words";

const NETWORK = new Set(["UNREACHABLE", "NOT_CONNECTED", "CONNECTION_LOST", "CLOSED", "GOING_AWAY", "SERVER_FULL"]);

export const explain = (error: unknown, t: ChatWords): string => {
  if (!(error instanceof AtriumError)) return t.faultOther(String(error));
  const ended = endedBy(error);
  if (ended !== null) return ended;
  if (NETWORK.has(error.code)) return t.faultNetwork;
  if (error.code.startsWith("TOKEN_")) return t.faultToken;
  switch (error.code) {
    case "FORBIDDEN":
      return t.faultForbidden;
    case "TIMEOUT":
      return t.faultTimeout;
    case "RATE_LIMITED":
      return t.faultRate(Math.max(1, Math.ceil((error.retryAfter ?? 1000) / 1000)));
    case "CONFLICT": {
      const taken = error.details?.operator_id;
      return typeof taken === "string" ? t.takenBy(taken) : t.faultArchived;
    }
    case "MESSAGE_TOO_BIG":
      return t.faultBig;
    case "UNSUPPORTED_TYPE": {
      const allowed = error.details?.allowed;
      return t.faultType(Array.isArray(allowed) ? allowed.map(kind).join(", ") : "");
    }
    case "LIMIT_EXCEEDED":
      return t.faultLimit;
    case "INVALID_MESSAGE":
      return t.faultInvalid;
    case "NOT_FOUND":
      return t.faultMissing;
    default:
      return t.faultOther(`${error.message} (${error.code})`);
  }
};

const kind = (type: unknown): string => String(type).split("/").at(-1)?.toUpperCase().replace("PLAIN", "TXT") ?? "";

export const tellFault = (error: unknown, t: ChatWords): void => tell(explain(error, t), "bad");
