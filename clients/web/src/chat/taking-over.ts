import type { SessionInfo } from "atrium-client";

/** For an operator, to join it would be to take over from its agent. */
export const wouldTakeOver = (session: SessionInfo, me: string): boolean =>
  session.status === "active" &&
  session.operator_id === null &&
  session.user_id !== me &&
  (session.agent !== null || session.handover !== null);
