// Generated from the server's /asyncapi.json by `npm run protocol`: do not edit.

/**
 * By namespace: what its clients send, and are answered; what they hear; what they are asked, and answer.
 * An event that is not among those of `hears` is `"*"`, where there is one.
 */
export interface Events {
  "/chat": {
    sends: {
      /** To any of the server's questions, by a client that knows no acks. */
      answer: { payload: GivenAnswerPayload; ack: Ack };
      /** A fresh token for the same user and tenant keeps the connection; sessions that it does not open are left. */
      authenticate: { payload: AuthenticatePayload; ack: Authenticated };
      /** Takes back what one has said: its place stays. */
      delete: { payload: ChatSaidPayload; ack: ChatDeleted };
      /** Changes a text of one's own. */
      edit: { payload: ChatEditPayload; ack: ChatEdited };
      /** Says a file that was uploaded to the session. */
      file: { payload: ChatFilePayload; ack: ChatSent };
      /** An operator takes over: the agent falls silent. */
      handover_accept: { payload: ChatSessionPayload; ack: ChatOperated };
      /** Asks operators to take over. */
      handover_request: { payload: ChatHandoverRequestPayload; ack: ChatHandoverRequested };
      /** The agent answers again. */
      handover_return: { payload: ChatSessionPayload; ack: ChatOperated };
      /** Hears of the session from here on. One that there is not is made for this user. */
      join: { payload: ChatJoinPayload; ack: ChatJoined };
      /** Hears of the session no more. */
      leave: { payload: ChatLeavePayload; ack: Ack };
      /** Says something in a session. Sent again with the same `client_message_id` it is said once. */
      message: { payload: ChatMessagePayload; ack: ChatSent };
      /** Is answered by `pong`, and in the ack. */
      ping: { payload: PingPayload; ack: PongAck };
      /** One has read all up to `seq`. */
      read: { payload: ChatReadPayload; ack: ChatReadAck };
      /** Messages that hold every word, in sessions that one may see. */
      search: { payload: ChatSearchPayload; ack: ChatFound };
      /** Stops an agent's answer. */
      stream_cancel: { payload: ChatStreamCancelPayload; ack: ChatStreamCancelled };
      /** To the others in the session; to be repeated while it goes on. */
      typing: { payload: ChatTypingPayload; ack: Ack };
      /** The next bytes of a file. */
      upload_chunk: { payload: ChatUploadChunkPayload; ack: ChatReceived };
      /** All chunks are there. */
      upload_end: { payload: ChatUploadPayload; ack: ChatUploaded };
      /** A file follows in chunks. */
      upload_start: { payload: ChatUploadStartPayload; ack: ChatUploadStarted };
      /** From where to go on. */
      upload_status: { payload: ChatUploadPayload; ack: ChatUploadStatus };
    };
    hears: {
      /** The first event. `recovered`: the session goes on, and what was missed follows. */
      connected: Connected;
      /** Just before the server ends the connection. `reconnect`: whether a client should come back by itself. */
      disconnecting_reason: DisconnectingReason;
      /** What became of an event that was sent without an ack, or of an answer to the question `requestId`. */
      error: ErrorEvent;
      /** To operators: a person is wanted in the session. */
      handover_requested: ChatHandover;
      /**
       * To the session's room, once it is stored. `seq` rises by one in a session. Deleted ones have no content and
       * `deleted_at` in their metadata, edited ones `edited_at`; an agent's have what the answer cost and rests on.
       */
      message: ChatMessage;
      message_deleted: ChatMessageDeleted;
      /** The message as it is now. */
      message_edited: ChatMessageEdited;
      /**
       * To a user who takes part in a session that was not joined on this connection: a `message` there, whose content
       * is its beginning, or that the user was `invited`, by `user_id`.
       */
      notification: ChatNotification;
      /** The `timestamp` of the ping, whatever it was; the server's where it had none. */
      pong: Pong;
      /** The user has read all up to `seq`. */
      read: ChatRead;
      /** The question need not be answered any more. */
      request_expired: RequestExpired;
      /** The server goes away; the client is to reconnect after so many milliseconds. */
      server_draining: ServerDraining;
      /** `index` rises by one, from 0; who comes in the middle has the text so far in a chunk with a higher one. */
      stream_chunk: ChatStreamChunk;
      /**
       * With all of the text. `seq` and `created_at` are those of the message, where it was stored: one that was
       * `cancelled` is, one that ended with an `error` is not. `latency_ms` from the question to here.
       */
      stream_end: ChatStreamEnd;
      /** An agent begins to answer; the message begins anew for whoever had some of it. */
      stream_start: ChatStreamStart;
      /** What became of the session, and by whom. `version` orders what two nodes tell at once of one user. */
      system: ChatSystem;
      /** The token runs out in so many seconds: `authenticate` with a fresh one keeps the connection. */
      token_expiring: TokenExpiring;
      /** Ended by the server after some seconds of silence. */
      typing: ChatTyping;
    };
    asked: Record<string, never>;
  };
  "/monitor": {
    sends: {
      /** Somebody knows of it. For operators and admins. */
      alarm_acknowledge: { payload: MonitorAlarmAcknowledgePayload; ack: MonitorAlarmAck };
      /**
       * Nobody is to be bothered by it, nor by those of its kind that follow, for some minutes. For operators and
       * admins.
       */
      alarm_shelve: { payload: MonitorAlarmShelvePayload; ack: MonitorAlarmAck };
      /** Ends the shelf. For operators and admins. */
      alarm_unshelve: { payload: MonitorAlarmUnshelvePayload; ack: MonitorAlarmAck };
      /** The open ones, or the newest of those that are over. */
      alarms: { payload: MonitorAlarmsPayload; ack: MonitorAlarms };
      /** To any of the server's questions, by a client that knows no acks. */
      answer: { payload: GivenAnswerPayload; ack: Ack };
      /** A fresh token for the same user and tenant keeps the connection open. */
      authenticate: { payload: AuthenticatePayload; ack: Authenticated };
      /** Is answered by `pong`, and in the ack. */
      ping: { payload: PingPayload; ack: PongAck };
      /** Narrows the status and the alarms to what all filters let through, instead of what it saw before. */
      subscribe: { payload: MonitorSubscribePayload; ack: MonitorShown };
      /** All machines again. */
      unsubscribe: { payload: NoPayload; ack: MonitorShown };
    };
    hears: {
      /** The first event. */
      connection_status: MonitorConnectionStatus;
      /** Just before the server ends the connection. `reconnect`: whether a client should come back by itself. */
      disconnecting_reason: DisconnectingReason;
      /**
       * An alarm was raised, cleared, or somebody (`by`) did something about it. `flapping`: it comes and goes too
       * often to be told each time; `occurrences` counts. One that is raised on the shelf is not told, but that it is
       * over. `cleared_at`: it is over, whatever was done about it now.
       */
      equipment_alarm: MonitorEquipmentAlarm;
      /**
       * Every period, and at once after connecting: the machines that are subscribed to, by default all. Volatile: to a
       * slow reader only the newest is sent.
       */
      equipment_status: MonitorEquipmentStatus;
      /** What became of an event that was sent without an ack, or of an answer to the question `requestId`. */
      error: ErrorEvent;
      /** The `timestamp` of the ping, whatever it was; the server's where it had none. */
      pong: Pong;
      /** The question need not be answered any more. */
      request_expired: RequestExpired;
      /** The server goes away; the client is to reconnect after so many milliseconds. */
      server_draining: ServerDraining;
      /** The token runs out in so many seconds: `authenticate` with a fresh one keeps the connection. */
      token_expiring: TokenExpiring;
    };
    asked: Record<string, never>;
  };
  "/trading": {
    sends: {
      /** To any of the server's questions, by a client that knows no acks. */
      answer: { payload: GivenAnswerPayload; ack: Ack };
      /** A fresh token for the same user and tenant keeps the connection; `unsubscribed`: which channels it cost. */
      authenticate: { payload: AuthenticatePayload; ack: TradingAuthenticatedAck };
      /** What there is to know of a channel. */
      channel_info: { payload: TradingChannelPayload; ack: TradingChannelInfo };
      /** To all who subscribed to the channel. */
      chat_message: { payload: TradingChatMessagePayload; ack: TradingChatReceipt };
      /** What there is to know of a connection, for admins. */
      client_info: { payload: TradingClientPayload; ack: TradingClientInfo };
      /** Is answered by `pong`, and in the ack. */
      ping: { payload: PingPayload; ack: PongAck };
      /** Who is subscribed to a channel that one has subscribed to oneself. */
      presence: { payload: TradingChannelPayload; ack: TradingPresence };
      /** On a channel that allows it. Sent again with the same `idempotency_key` it is published once. */
      publish: { payload: TradingPublishPayload; ack: TradingReceipt };
      /** Of all nodes, for admins. */
      stats: { payload: NoPayload; ack: TradingStats };
      /**
       * Hears of a channel, or by a pattern of all channels of a class, from here on; `since` is the last message that
       * was seen.
       */
      subscribe: { payload: TradingSubscribePayload; ack: TradingSubscribed };
      /** Hears of the channel no more. */
      unsubscribe: { payload: TradingUnsubscribePayload; ack: TradingUnsubscribedAck };
    };
    hears: {
      /** Any other event. */
      "*": TradingPublished;
      /** `client_id` is what the client calls itself, `user_id` who it is. */
      chat_message: TradingChatMessage;
      /** The first event. `recovered`: the session goes on, and what was missed follows. */
      connected: Connected;
      /** Just before the server ends the connection. `reconnect`: whether a client should come back by itself. */
      disconnecting_reason: DisconnectingReason;
      /** What became of an event that was sent without an ack, or of an answer to the question `requestId`. */
      error: ErrorEvent;
      /** The `timestamp` of the ping, whatever it was; the server's where it had none. */
      pong: Pong;
      /** The question need not be answered any more. */
      request_expired: RequestExpired;
      /** The server goes away; the client is to reconnect after so many milliseconds. */
      server_draining: ServerDraining;
      /** The token runs out in so many seconds: `authenticate` with a fresh one keeps the connection. */
      token_expiring: TokenExpiring;
      /** The user's rights have changed, and no longer allow the channel. */
      unsubscribed: TradingUnsubscribed;
    };
    asked: Record<string, never>;
  };
  "/copilot": {
    sends: {
      /** To any of the server's questions, by a client that knows no acks. */
      answer: { payload: GivenAnswerPayload; ack: Ack };
      /** The answer to `request_api`, where it is not its ack. */
      api_result: { payload: CopilotApiResultPayload; ack: Ack };
      /** A fresh token for the same user and tenant keeps the connection open. */
      authenticate: { payload: AuthenticatePayload; ack: Authenticated };
      /** The answer to `request_available_data`, where it is not its ack. */
      available_data: { payload: CopilotAvailableDataPayload; ack: Ack };
      /** Stops a query. */
      cancel: { payload: CopilotCancelPayload; ack: CopilotCancelled };
      /** The answer to `clarification_request`, where it is not its ack. */
      human_response: { payload: CopilotHumanResponsePayload; ack: Ack };
      /** Is answered by `pong`, and in the ack. */
      ping: { payload: PingPayload; ack: PongAck };
      /** Asks something of the data that the client has: `processing` and `response`, or `error`, follow. */
      query: { payload: CopilotQueryPayload; ack: CopilotStarted };
    };
    hears: {
      /** The first event. `recovered`: the session goes on, and what was missed follows. */
      connected: Connected;
      /** Just before the server ends the connection. `reconnect`: whether a client should come back by itself. */
      disconnecting_reason: DisconnectingReason;
      /** There is no answer to the query `query_id`; without one, as in every namespace. */
      error: CopilotQueryError;
      /** The `timestamp` of the ping, whatever it was; the server's where it had none. */
      pong: Pong;
      /** How far the query is. */
      processing: CopilotProcessing;
      /** The question need not be answered any more. */
      request_expired: RequestExpired;
      /** The answer to the query. */
      response: CopilotResponse;
      /** The server goes away; the client is to reconnect after so many milliseconds. */
      server_draining: ServerDraining;
      /** The token runs out in so many seconds: `authenticate` with a fresh one keeps the connection. */
      token_expiring: TokenExpiring;
    };
    asked: {
      /** To the person: `options` may be none. */
      clarification_request: { payload: CopilotClarificationRequest; answer: CopilotClarificationPayload };
      /** Rows of a dataset. */
      request_api: { payload: CopilotApiRequest; answer: CopilotDataPayload };
      /** Which datasets has the client for this query? */
      request_available_data: { payload: CopilotAvailableDataRequest; answer: CopilotDatasetsPayload };
    };
  };
}

export type Namespace = keyof Events;

/**
 * It was done.
 */
export type Ack = Record<string, never>;

/**
 * - `AGENT_UNAVAILABLE`: The agent cannot answer now
 * - `CANCELLED`: The query was cancelled
 * - `CLIENT_GONE`: The client left before it answered
 * - `CLIENT_TIMEOUT`: The client did not answer in time
 * - `CONFLICT`: This conflicts with what is stored
 * - `DISCONNECTED`: Disconnected by an administrator
 * - `FORBIDDEN`: You may not do this
 * - `GOING_AWAY`: The server is going away
 * - `HEARTBEAT_LOST`: The pings were not answered
 * - `INTERNAL`: Something went wrong
 * - `INVALID_MESSAGE`: The message is not valid
 * - `LIMIT_EXCEEDED`: Too many at once
 * - `MESSAGE_TOO_BIG`: The message is too big
 * - `NODE_SILENT`: A node did not answer in time
 * - `NOT_FOUND`: Not found
 * - `NO_DATA`: There is no data to answer from
 * - `ORIGIN_REFUSED`: This origin may not connect
 * - `RATE_LIMITED`: Too many connects from this address
 * - `RATE_LIMITED`: Too many requests
 * - `SERVER_FULL`: The server is full
 * - `SESSION_REPLACED`: A newer session of this user took over
 * - `TIMEOUT`: The server took too long
 * - `TOKEN_EXPIRED`: The token has expired
 * - `TOKEN_INVALID`: The token is not valid
 * - `TOKEN_MISSING`: A token is required
 * - `UNKNOWN_EVENT`: No such event
 * - `UNKNOWN_REQUEST`: No such request is open for you
 * - `UNSUPPORTED_TYPE`: Files of this type are not taken
 */
export type ErrorCode =
  | "AGENT_UNAVAILABLE"
  | "CANCELLED"
  | "CLIENT_GONE"
  | "CLIENT_TIMEOUT"
  | "CONFLICT"
  | "DISCONNECTED"
  | "FORBIDDEN"
  | "GOING_AWAY"
  | "HEARTBEAT_LOST"
  | "INTERNAL"
  | "INVALID_MESSAGE"
  | "LIMIT_EXCEEDED"
  | "MESSAGE_TOO_BIG"
  | "NODE_SILENT"
  | "NOT_FOUND"
  | "NO_DATA"
  | "ORIGIN_REFUSED"
  | "RATE_LIMITED"
  | "SERVER_FULL"
  | "SESSION_REPLACED"
  | "TIMEOUT"
  | "TOKEN_EXPIRED"
  | "TOKEN_INVALID"
  | "TOKEN_MISSING"
  | "UNKNOWN_EVENT"
  | "UNKNOWN_REQUEST"
  | "UNSUPPORTED_TYPE";

export type NoPayload = Record<string, never>;

export interface AuthenticatePayload {
  token: string;
}

/**
 * `expires_at` is in seconds since the epoch.
 */
export interface Authenticated {
  user_id: string;
  expires_at: number | null;
}

export interface ChatAgent {
  id: number;
  name: string;
  avatar_url: string | null;
}

/**
 * What an operator should know of a session. `requested_by` nobody, the agent suggested it.
 */
export interface ChatAnalysis {
  intent: string;
  urgency: string;
  summary: string;
  keywords: string[];
  suggested_action: string;
  reason: string;
  requested_by: string | null;
  requested_at: string;
}

export interface ChatDeleted {
  message_id: string;
  seq: number;
  deleted_at: string;
}

export interface ChatEditPayload {
  session_id: string;
  message_id: string;
  content: string;
}

export interface ChatEdited {
  remaining?: number;
  message_id: string;
  seq: number;
  edited_at: string;
}

export interface ChatFilePayload {
  session_id: string;
  file_id: string;
  message?: string;
  client_message_id?: string | null;
}

/**
 * The best first.
 */
export interface ChatFound {
  query: string;
  hits: ChatHit[];
}

/**
 * `content` is what surrounds the first match; `highlight` the same as HTML, with each match in `<mark>`.
 */
export interface ChatHit {
  message_id: string;
  session_id: string;
  seq: number;
  sender_type: "user" | "agent" | "system";
  sender_id: string;
  content: string;
  highlight: string;
  score: number;
  created_at: string;
}

/**
 * To operators: a person is wanted in the session.
 */
export interface ChatHandover {
  intent: string;
  urgency: string;
  summary: string;
  keywords: string[];
  suggested_action: string;
  reason: string;
  requested_by: string | null;
  requested_at: string;
  session_id: string;
  user_id: string;
}

export interface ChatHandoverRequestPayload {
  session_id: string;
  reason?: string;
}

export interface ChatHandoverRequested {
  remaining?: number;
  session_id: string;
  operator_id: string | null;
  handover: ChatAnalysis | null;
}

export interface ChatJoinPayload {
  session_id: string;
  after_seq?: number | null;
}

/**
 * `messages` oldest first: those after `after_seq`, else the newest; `has_more` that way. `online`: who has joined
 * now.
 */
export interface ChatJoined {
  session: ChatSession;
  participants: string[];
  messages: ChatMessage[];
  last_seq: number;
  has_more: boolean;
  online: string[];
}

/**
 * As its reader sees it. `operator_id`: who took over from the agent; `handover`: what is asked of operators, and
 * open.
 */
export interface ChatSession {
  session_id: string;
  trace_id: string | null;
  user_id: string;
  agent_id: number | null;
  title: string | null;
  status: "active" | "archived" | "deleted";
  metadata: {
    [k: string]: unknown;
  };
  message_count: number;
  created_at: string;
  last_activity: string;
  agent: ChatAgent | null;
  operator_id: string | null;
  handover: ChatAnalysis | null;
  participants: string[];
  last_seq: number;
  unread_count: number;
}

/**
 * To the session's room, once it is stored. `seq` rises by one in a session. Deleted ones have no content and
 * `deleted_at` in their metadata, edited ones `edited_at`; an agent's have what the answer cost and rests on.
 */
export interface ChatMessage {
  message_id: string;
  session_id: string;
  seq: number;
  sender_type: "user" | "agent" | "system";
  sender_id: string;
  message_type: "text" | "stream" | "file" | "system";
  content: string;
  metadata: {
    [k: string]: unknown;
  };
  created_at: string;
}

export interface ChatLeavePayload {
  session_id: string;
}

export interface ChatMessageDeleted {
  session_id: string;
  message_id: string;
  seq: number;
  user_id: string;
  deleted_at: string;
}

/**
 * The message as it is now.
 */
export interface ChatMessageEdited {
  message_id: string;
  session_id: string;
  seq: number;
  sender_type: "user" | "agent" | "system";
  sender_id: string;
  message_type: "text" | "stream" | "file" | "system";
  content: string;
  metadata: {
    [k: string]: unknown;
  };
  created_at: string;
}

export interface ChatMessagePayload {
  session_id: string;
  content: string;
  client_message_id?: string | null;
  message_type?: "text";
  metadata?: {
    [k: string]: unknown;
  } | null;
}

/**
 * To a user who takes part in a session that was not joined on this connection: a `message` there, whose content
 * is its beginning, or that the user was `invited`, by `user_id`.
 */
export interface ChatNotification {
  event: "message" | "invited";
  session_id: string;
  user_id?: string;
  message_id?: string;
  seq?: number;
  sender_type?: "user" | "agent" | "system";
  sender_id?: string;
  message_type?: "text" | "stream" | "file" | "system";
  content?: string;
  created_at?: string;
}

/**
 * Who answers in the session now; nobody, it is the agent.
 */
export interface ChatOperated {
  session_id: string;
  operator_id: string | null;
}

/**
 * The user has read all up to `seq`.
 */
export interface ChatRead {
  session_id: string;
  user_id: string;
  seq: number;
}

export interface ChatReadAck {
  session_id: string;
  last_read_seq: number;
  unread_count: number;
}

export interface ChatReadPayload {
  session_id: string;
  seq: number;
}

/**
 * From where to go on.
 */
export interface ChatReceived {
  received: number;
}

/**
 * A message that was said before.
 */
export interface ChatSaidPayload {
  session_id: string;
  message_id: string;
}

export interface ChatSearchPayload {
  query: string;
  session_id?: string | null;
  limit?: number;
}

export interface ChatSent {
  remaining?: number;
  message_id: string;
  seq: number;
  created_at: string;
  status: "sent";
}

export interface ChatSessionPayload {
  session_id: string;
}

export interface ChatStreamCancelPayload {
  message_id: string;
  session_id?: string | null;
}

export interface ChatStreamCancelled {
  message_id: string;
  session_id: string;
}

/**
 * `index` rises by one, from 0; who comes in the middle has the text so far in a chunk with a higher one.
 */
export interface ChatStreamChunk {
  message_id: string;
  session_id: string;
  content: string;
  index: number;
}

/**
 * With all of the text. `seq` and `created_at` are those of the message, where it was stored: one that was
 * `cancelled` is, one that ended with an `error` is not. `latency_ms` from the question to here.
 */
export interface ChatStreamEnd {
  message_id: string;
  session_id: string;
  content?: string;
  seq?: number;
  created_at?: string;
  tokens_used: number | null;
  latency_ms: number | null;
  cancelled?: boolean;
  error?: Error;
  intent?: string | null;
  suggested_action?: string;
  source_documents?: {
    [k: string]: unknown;
  }[];
}

/**
 * `details` maps the payload's fields to what is wrong with them, or says more in another way. `retry_after` is in
 * milliseconds. `error_id` also stands in the server's log.
 */
export interface Error {
  code: ErrorCode;
  message: string;
  details?: {
    [k: string]: unknown;
  };
  retry_after?: number;
  limit?: number;
  remaining?: number;
  error_id?: string;
}

/**
 * An agent begins to answer; the message begins anew for whoever had some of it.
 */
export interface ChatStreamStart {
  message_id: string;
  session_id: string;
  sender_type: "agent";
  sender_id: string;
}

/**
 * What became of the session, and by whom. `version` orders what two nodes tell at once of one user.
 */
export interface ChatSystem {
  event:
    | "user_joined"
    | "user_left"
    | "agent_joined"
    | "operator_joined"
    | "handover_requested"
    | "session_archived"
    | "participant_added"
    | "participant_removed";
  session_id: string;
  user_id: string;
  version?: number;
  timestamp: string;
}

/**
 * Ended by the server after some seconds of silence.
 */
export interface ChatTyping {
  session_id: string;
  user_id: string;
  is_typing: boolean;
}

export interface ChatTypingPayload {
  session_id: string;
  is_typing: boolean;
}

export interface ChatUploadChunkPayload {
  upload_id: string;
  offset: number;
  /**
   * Bytes.
   */
  data: ArrayBuffer | ArrayBufferView | Blob;
}

export interface ChatUploadPayload {
  upload_id: string;
}

export interface ChatUploadStartPayload {
  session_id: string;
  name: string;
  size: number;
  type?: string;
}

/**
 * `chunk_size`: the most bytes of one chunk.
 */
export interface ChatUploadStarted {
  upload_id: string;
  chunk_size: number;
}

export interface ChatUploadStatus {
  received: number;
  chunk_size: number;
}

/**
 * The file, which no message says yet.
 */
export interface ChatUploaded {
  file_id: string;
  name: string;
  type: string;
  size: number;
  url: string;
  thumbnail_url: string | null;
}

/**
 * The first event. `recovered`: the session goes on, and what was missed follows.
 */
export interface Connected {
  connection_id: string;
  user_id: string;
  namespace: string;
  server_time: string;
  recovered: boolean;
}

/**
 * Rows of a dataset.
 */
export interface CopilotApiRequest {
  requestId: string;
  dataset: string;
  params: {
    [k: string]: unknown;
  };
}

export interface CopilotApiResultPayload {
  /**
   * @maxItems 10000
   */
  data: {}[];
  requestId: string;
}

export interface CopilotAvailableDataPayload {
  /**
   * @maxItems 100
   */
  datasets: CopilotDatasetPayload[];
  requestId: string;
}

/**
 * What else a client knows of a dataset may help to choose it, so it is kept.
 */
export interface CopilotDatasetPayload {
  name: string;
  description?: string | null;
  [k: string]: unknown;
}

/**
 * Which datasets has the client for this query?
 */
export interface CopilotAvailableDataRequest {
  requestId: string;
  query: string;
}

export interface CopilotCancelPayload {
  query_id: string;
}

export interface CopilotCancelled {
  query_id: string;
}

export interface CopilotClarificationPayload {
  answer: string;
}

/**
 * To the person: `options` may be none.
 */
export interface CopilotClarificationRequest {
  requestId: string;
  question: string;
  options: string[];
}

export interface CopilotDataPayload {
  /**
   * @maxItems 10000
   */
  data: {}[];
}

export interface CopilotDatasetsPayload {
  /**
   * @maxItems 100
   */
  datasets: CopilotDatasetPayload[];
}

/**
 * `previous` and what changed are there where two periods are compared.
 */
export interface CopilotFigure {
  label: string | null;
  value: number;
  previous?: number | null;
  change?: number | null;
  change_percent?: number | null;
}

/**
 * What the answer was computed from: of so many `rows`, `skipped` ones held no usable number. With a language model
 * there may be several, in `results`.
 */
export interface CopilotFigures {
  operation?: "sum" | "average" | "count" | "max" | "min";
  measure?: string | null;
  group_by?: string | null;
  period?: CopilotPeriod | null;
  filters?: {
    [k: string]: string[];
  };
  rows?: number;
  skipped?: number;
  groups?: number;
  figures?: CopilotFigure[];
  overall?: number | null;
  per?: "day" | "month" | "year";
  unknown?: string[];
  compared_with?: CopilotPeriod;
  overall_previous?: number | null;
  dataset?: string;
  results?: {
    [k: string]: unknown;
  }[];
  [k: string]: unknown;
}

/**
 * Dates, both included.
 */
export interface CopilotPeriod {
  from: string;
  to: string;
}

export interface CopilotHumanResponsePayload {
  answer: string;
  requestId: string;
}

/**
 * How far the query is.
 */
export interface CopilotProcessing {
  query_id: string;
  stage: "started" | "requesting_data" | "clarifying" | "fetching" | "answering";
}

/**
 * There is no answer to the query `query_id`; without one, as in every namespace.
 */
export interface CopilotQueryError {
  code: ErrorCode;
  message: string;
  details?: {
    [k: string]: unknown;
  };
  retry_after?: number;
  limit?: number;
  remaining?: number;
  error_id?: string;
  requestId?: string;
  query_id?: string;
}

export interface CopilotQueryPayload {
  text: string;
  query_id?: string | null;
}

/**
 * The answer to the query.
 */
export interface CopilotResponse {
  query_id: string;
  text: string;
  data: CopilotFigures;
  sources: CopilotSource[];
  latency_ms: number;
}

/**
 * A dataset, and how many of its rows were read; `complete` is there, and false, where it has more.
 */
export interface CopilotSource {
  dataset: string;
  rows: number;
  complete?: boolean;
}

/**
 * The query runs.
 */
export interface CopilotStarted {
  remaining?: number;
  query_id: string;
}

/**
 * Just before the server ends the connection. `reconnect`: whether a client should come back by itself.
 */
export interface DisconnectingReason {
  code: ErrorCode;
  message: string;
  details?: {
    [k: string]: unknown;
  };
  retry_after?: number;
  limit?: number;
  remaining?: number;
  error_id?: string;
  close_code: number;
  reconnect: boolean;
}

/**
 * What became of an event that was sent without an ack, or of an answer to the question `requestId`.
 */
export interface ErrorEvent {
  code: ErrorCode;
  message: string;
  details?: {
    [k: string]: unknown;
  };
  retry_after?: number;
  limit?: number;
  remaining?: number;
  error_id?: string;
  requestId?: string;
}

/**
 * It was not done.
 */
export interface Failed {
  ok: false;
  error: Error;
}

/**
 * An answer as an event, to any question.
 */
export interface GivenAnswerPayload {
  requestId: string;
  answer: {
    [k: string]: unknown;
  };
}

/**
 * As it is stored. `shelved_until` is null where the shelf has ended.
 */
export interface MonitorAlarm {
  alarm_id: string;
  equipment_code: string;
  equipment_name: string | null;
  kind: "error" | "disconnected";
  raised_at: string;
  cleared_at: string | null;
  occurrences: number;
  flapping: boolean;
  acknowledged_at: string | null;
  acknowledged_by: string | null;
  acknowledge_comment: string | null;
  shelved_until: string | null;
  shelved_by: string | null;
  shelve_comment: string | null;
  unshelved_by: string | null;
}

export interface MonitorAlarmAck {
  alarm: MonitorAlarm;
}

export interface MonitorAlarmAcknowledgePayload {
  alarm_id: string;
  comment?: string | null;
}

export interface MonitorAlarmShelvePayload {
  alarm_id: string;
  comment?: string | null;
  minutes: number;
}

export interface MonitorAlarmUnshelvePayload {
  alarm_id: string;
}

/**
 * The newest first.
 */
export interface MonitorAlarms {
  alarms: MonitorAlarm[];
}

export interface MonitorAlarmsPayload {
  state?: "active" | "past";
}

/**
 * The first event.
 */
export interface MonitorConnectionStatus {
  timestamp: string;
  status: "connected";
  message: string;
}

/**
 * One machine. `last_updated` is when its value was last known to be new, `source_time` the device's own time of
 * it, `server_time` when it was read last.
 */
export interface MonitorEquipment {
  equipment_code: string;
  equipment_name: string;
  status: "running" | "idle" | "stopped" | "error" | "disconnected";
  tags: MonitorTags;
  last_updated: string;
  quality: "good" | "stale" | "bad";
  source_time: string | null;
  server_time: string | null;
}

/**
 * `connection`: whether the machine can be reached.
 */
export interface MonitorTags {
  status_tag: 0 | 1;
  error_tag: 0 | 1;
  connection: boolean;
}

/**
 * An alarm was raised, cleared, or somebody (`by`) did something about it. `flapping`: it comes and goes too often
 * to be told each time; `occurrences` counts. One that is raised on the shelf is not told, but that it is over.
 * `cleared_at`: it is over, whatever was done about it now.
 */
export interface MonitorEquipmentAlarm {
  alarm_id: string;
  equipment_code: string;
  equipment_name: string | null;
  kind: "error" | "disconnected";
  state: "raised" | "acknowledged" | "shelved" | "unshelved" | "cleared";
  status: "running" | "idle" | "stopped" | "error" | "disconnected" | null;
  previous_status: "running" | "idle" | "stopped" | "error" | "disconnected" | null;
  flapping: boolean;
  occurrences: number;
  timestamp: string;
  raised_at: string;
  cleared_at?: string;
  shelved_until?: string;
  by?: string;
  comment?: string;
}

/**
 * Every period, and at once after connecting: the machines that are subscribed to, by default all. Volatile: to a
 * slow reader only the newest is sent.
 */
export interface MonitorEquipmentStatus {
  timestamp: string;
  equipment: MonitorEquipment[];
}

/**
 * The codes of the machines that the filter lets through now.
 */
export interface MonitorShown {
  equipment: string[];
}

export interface MonitorSubscribePayload {
  /**
   * @minItems 1
   * @maxItems 200
   */
  equipment?: string[] | null;
  /**
   * @minItems 1
   * @maxItems 20
   */
  lines?: string[] | null;
  /**
   * @minItems 1
   * @maxItems 5
   */
  statuses?: ("running" | "idle" | "stopped" | "error" | "disconnected")[] | null;
}

export interface PingPayload {
  timestamp?: {
    [k: string]: unknown;
  };
}

/**
 * The `timestamp` of the ping, whatever it was; the server's where it had none.
 */
export interface Pong {
  timestamp: unknown;
}

/**
 * As `pong`.
 */
export interface PongAck {
  timestamp: unknown;
}

/**
 * Why a connect was refused: `err.data` of Socket.IO's `connect_error`. `close_code` is what a plain WebSocket is
 * closed with.
 */
export interface Refusal {
  code: ErrorCode;
  message: string;
  details?: {
    [k: string]: unknown;
  };
  retry_after?: number;
  limit?: number;
  remaining?: number;
  error_id?: string;
  close_code: number;
}

/**
 * The question need not be answered any more.
 */
export interface RequestExpired {
  requestId: string;
}

/**
 * The server goes away; the client is to reconnect after so many milliseconds.
 */
export interface ServerDraining {
  reconnect_after_ms: number;
}

/**
 * The token runs out in so many seconds: `authenticate` with a fresh one keeps the connection.
 */
export interface TokenExpiring {
  expires_in: number;
}

/**
 * `unsubscribed`: the channels that the new token does not allow.
 */
export interface TradingAuthenticatedAck {
  user_id: string;
  expires_at: number | null;
  unsubscribed?: string[];
}

/**
 * `subscribers`, their connections' ids, are for who may publish, and for admins.
 */
export interface TradingChannelInfo {
  channel: string;
  subscriber_count: number;
  seq: number;
  epoch: string | null;
  last_published: string | null;
  history: TradingHistory;
  conflated: boolean;
  priority: string;
  presence: boolean;
  subscribers?: string[];
}

/**
 * How many messages are `held` of at most `count`, for `seconds`.
 */
export interface TradingHistory {
  held: number;
  count: number;
  seconds: number;
}

export interface TradingChannelPayload {
  channel: string;
}

/**
 * `client_id` is what the client calls itself, `user_id` who it is.
 */
export interface TradingChatMessage {
  channel: string;
  seq: number;
  timestamp: string;
  client_id: string;
  user_id: string;
  message: string;
  conflated?: number;
}

/**
 * `client_id`: what the client calls itself; who says it is not taken from there.
 */
export interface TradingChatMessagePayload {
  channel?: string;
  message: string;
  client_id?: string | null;
}

export interface TradingChatReceipt {
  remaining?: number;
  channel: string;
  seq: number;
  epoch: string;
}

/**
 * A connection. `last_ping`: when its application sent `ping` last.
 */
export interface TradingClientInfo {
  client_id: string;
  user_id: string;
  channels: string[];
  state: "connected";
  last_ping: string | null;
  last_pong: string | null;
  metadata: TradingClientMetadata;
}

export interface TradingClientMetadata {
  tenant: string | null;
  username: string | null;
  roles: string[];
  address: string;
  connected_at: string;
  node: string;
}

export interface TradingClientPayload {
  client_id: string;
}

/**
 * A message in an ack: its event is the `type`; `chat_message`s have their own fields instead of `data`.
 */
export interface TradingKept {
  type: string;
  channel: string;
  seq: number;
  timestamp: string;
  data?: unknown;
  client_id?: string;
  user_id?: string;
  message?: string;
}

/**
 * The counters, which are those of the whole process since its start, are for who looks after the server.
 */
export interface TradingNodeStats {
  total_connections?: number;
  messages_sent?: number;
  messages_received?: number;
  errors?: number;
  active_connections: number;
  channels: number;
  users_with_connections: number;
}

export interface TradingPosition {
  seq: number;
  epoch: string;
}

/**
 * The longest there first; `count` is of all, where not all are named.
 */
export interface TradingPresence {
  channel: string;
  users: string[];
  count: number;
}

export interface TradingPublishPayload {
  type?: string;
  data: unknown;
  idempotency_key?: string | null;
  channel: string;
}

/**
 * On a channel: the event is the `type` that its publisher gave it, and `data` what was published. `seq` rises by
 * one in a channel, so that a gap shows; of a conflated channel `conflated` says how many this one replaced.
 */
export interface TradingPublished {
  channel: string;
  seq: number;
  timestamp: string;
  data: unknown;
  conflated?: number;
}

/**
 * Where the message stands, and how many subscribers it was for.
 */
export interface TradingReceipt {
  seq: number;
  epoch: string;
  subscribers: number;
}

export interface TradingSincePayload {
  epoch: string;
  seq: number;
}

/**
 * Of all nodes together, and of each by its name.
 */
export interface TradingStats {
  total_connections?: number;
  messages_sent?: number;
  messages_received?: number;
  errors?: number;
  active_connections: number;
  channels: number;
  users_with_connections: number;
  nodes: {
    [k: string]: TradingNodeStats;
  };
}

export interface TradingSubscribePayload {
  channel?: string | null;
  since?: TradingSincePayload | null;
}

/**
 * What it holds and the events with a higher `seq` are together every message, each once. `messages` are those
 * after `since`, where it is `recovered`; else `snapshot` are those that are kept. Of a pattern `seq` and `epoch` are
 * null: `channels` has those of each.
 */
export interface TradingSubscribed {
  channel: string;
  success: boolean;
  seq: number | null;
  epoch: string | null;
  recovered?: boolean;
  messages?: TradingKept[];
  snapshot?: TradingKept[];
  channels?: {
    [k: string]: TradingPosition;
  };
}

export interface TradingUnsubscribePayload {
  channel?: string | null;
}

/**
 * The user's rights have changed, and no longer allow the channel.
 */
export interface TradingUnsubscribed {
  channel: string;
}

/**
 * `success`: whether it was subscribed.
 */
export interface TradingUnsubscribedAck {
  channel: string;
  success: boolean;
}
