export type { AnswerOptions, Asked } from "./answers.js";
export {
  type Channel,
  type ChannelListener,
  type ChannelOptions,
  type ChannelSnapshot,
  openChannel,
} from "./channel.js";
export {
  type CallOptions,
  type Connection,
  type ConnectionState,
  type ConnectOptions,
  connect,
  type TokenReason,
  type TokenSource,
} from "./connection.js";
export { AtriumError, type ClientCode, isPassing } from "./errors.js";
export {
  type Monitor,
  type MonitorOptions,
  type MonitorSnapshot,
  openMonitor,
} from "./monitor.js";
export type { MessageStorage, PendingMessage } from "./outbox.js";
export { type Policy, type PolicyName, policies } from "./policies.js";
/** All that is said on the wire, by the names of the server's description of it. */
export type * as wire from "./protocol.js";
export { type ChatSession, openSession } from "./session.js";
export type { MessageListener, SessionOptions, SessionSnapshot } from "./session-snapshot.js";
export type { ChatStream } from "./streams.js";
export type {
  AlarmNotice,
  ChannelMessage,
  ChatMessage,
  Equipment,
  EquipmentAlarm,
  ErrorCode,
  MonitorFilter,
  Sent,
  SessionInfo,
} from "./types.js";
