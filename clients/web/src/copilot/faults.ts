/** What went wrong, in the person's language, with what to do. */
import type { ImportFault } from "./data/importing";
import type { CopilotWords } from "./words";

/** `details`: what the server says beside, in the language of the question. */
export const explain = (
  { code, message }: { code: string; message: string },
  t: CopilotWords,
): { text: string; details?: string } => {
  if (code.startsWith("TOKEN_")) return { text: t.faultToken };
  switch (code) {
    case "NO_DATA":
      return { text: t.faultNoData, details: message };
    case "CLIENT_TIMEOUT":
    case "TIMEOUT":
      return { text: t.faultTimeout };
    case "CLIENT_GONE":
    case "CONNECTION_LOST":
    case "NOT_CONNECTED":
      return { text: t.faultGone };
    case "GOING_AWAY":
      return { text: t.faultGoing };
    case "LIMIT_EXCEEDED":
      return { text: t.faultLimit };
    case "AGENT_UNAVAILABLE":
      return { text: t.faultAgent };
    case "DENIED":
      return { text: t.faultDenied };
    case "TOO_WIDE":
      return { text: t.faultWide };
    case "DATA_GONE":
      return { text: t.faultData };
    default:
      return { text: t.faultOther(message, code) };
  }
};

export const explainImport = ({ kind, detail }: ImportFault, t: CopilotWords): string => {
  switch (kind) {
    case "big":
      return t.faultBig;
    case "rows":
      return t.faultRows;
    case "columns":
      return t.faultColumns(detail);
    case "empty":
      return t.faultEmpty;
    case "encoding":
      return t.faultEncoding;
    case "json":
      return t.faultJson(detail);
    case "shape":
      return t.faultShape(detail);
    case "csv":
      return t.faultCsv(detail);
    case "header":
      return t.faultHeader(detail);
    case "type":
      return t.faultType;
  }
};
