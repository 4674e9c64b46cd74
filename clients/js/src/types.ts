import type {
  ChatSent,
  ChatSession,
  Events,
  MonitorAlarm,
  MonitorEquipment,
  MonitorEquipmentAlarm,
  MonitorSubscribePayload,
} from "./protocol.js";

export type { ChatMessage, ErrorCode } from "./protocol.js";

/** A session as its reader sees it. */
export type SessionInfo = ChatSession;
/** The ack of `message` and `file`. */
export type Sent = ChatSent;
export type Equipment = MonitorEquipment;
export type EquipmentAlarm = MonitorAlarm;
/** The `equipment_alarm` event. */
export type AlarmNotice = MonitorEquipmentAlarm;
/** Only machines that fit all of it. */
export type MonitorFilter = MonitorSubscribePayload;

export interface ChannelMessage<Data = any> {
  /** The event's name: its publisher gave it. */
  type: string;
  channel: string;
  /** Rises by one in a channel. */
  seq: number;
  timestamp: string;
  data: Data;
  /** How many older ones of the same value this one stands for. */
  conflated?: number;
  /** What is beside these, as `chat_message` has it. */
  [more: string]: any;
}

// -- events, by namespace ---------------------------------------------------------------------------------------------

/** Of namespaces and events that the server's extensions add nothing is known: `any`. */
type Of<N extends string, Kind extends "sends" | "hears" | "asked"> = N extends keyof Events ? Events[N][Kind] : object;

/** A name that is known, or any other. */
export type Named<Names> = (Names & string) | (string & {});

export type HeardName<N extends string> = Named<Exclude<keyof Of<N, "hears">, "*">>;
export type Heard<N extends string, E extends string> = E extends keyof Of<N, "hears">
  ? Of<N, "hears">[E]
  : Of<N, "hears"> extends { "*": infer Other }
    ? Other
    : any;

export type CallName<N extends string> = Named<keyof Of<N, "sends">>;
type Call<N extends string, E extends string> = E extends keyof Of<N, "sends"> ? Of<N, "sends">[E] : unknown;
export type Payload<N extends string, E extends string> = Call<N, E> extends { payload: infer P } ? P : object;
export type Answered<N extends string, E extends string> = Call<N, E> extends { ack: infer A } ? A : any;

type Ask<N extends string, E extends string> = string extends keyof Of<N, "asked">
  ? unknown
  : E extends keyof Of<N, "asked">
    ? Of<N, "asked">[E]
    : unknown;
export type AskName<N extends string> = Named<string extends keyof Of<N, "asked"> ? never : keyof Of<N, "asked">>;
export type Request<N extends string, E extends string> = Ask<N, E> extends { payload: infer P } ? P : any;
export type Reply<N extends string, E extends string> = Ask<N, E> extends { answer: infer A } ? A : object;
