/** A question, from the box to its answer, with everything that the server asked for on the way. It is stored as it is. */
import type { CopilotClarificationRequest, CopilotProcessing, CopilotResponse } from "../../../../js/src/protocol";

export type Answer = CopilotResponse;
export type Figures = Answer["data"];
export type Stage = CopilotProcessing["stage"];
export type Clarifying = CopilotClarificationRequest;

/** `elsewhere`: asked in another window, which is gone; only what was sent from here is known. */
export type State = "queued" | "sending" | "running" | "answered" | "failed" | "cancelled" | "elsewhere";

export interface Step {
  readonly stage: Stage | "again";
  readonly at: number;
}

/** `sent`: the server has it, or will have it as soon as there is a connection. */
export type Outcome = "open" | "sent" | "denied" | "expired" | "failed";

export interface Exchange {
  readonly requestId: string;
  readonly kind: "data" | "rows" | "person";
  readonly at: number;
  readonly until: number | null;
  readonly outcome: Outcome;
  /** What the server asked for: the dataset and params, or the question and options. */
  readonly dataset?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly question?: string;
  readonly options?: readonly string[];
  readonly answer?: string;
  readonly count?: number; // rows, or data sets
  readonly bytes?: number; // as JSON
  /** Columns that did not fit. */
  readonly left?: readonly string[];
  /** Whether what was sent can still be looked at. */
  readonly kept?: boolean;
  readonly fault?: string;
}

export interface Asked {
  readonly id: string;
  readonly text: string;
  readonly at: number;
  readonly state: State;
  readonly tab: string;
  readonly tries: number;
  readonly steps: readonly Step[];
  readonly exchanges: readonly Exchange[];
  /** All of them, which may be more than are kept in `exchanges`. */
  readonly total: { readonly requests: number; readonly rows: number; readonly bytes: number };
  readonly until: number | null;
  readonly answer: Answer | null;
  readonly fault: { readonly code: string; readonly message: string } | null;
}

export const isOpen = (asked: Asked): boolean =>
  asked.state === "queued" || asked.state === "sending" || asked.state === "running";

export const asking = (id: string, text: string, tab: string, state: State): Asked => ({
  id,
  text,
  at: Date.now(),
  state,
  tab,
  tries: 0,
  steps: [],
  exchanges: [],
  total: { requests: 0, rows: 0, bytes: 0 },
  until: null,
  answer: null,
  fault: null,
});
