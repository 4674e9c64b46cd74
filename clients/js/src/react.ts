import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { type Channel, type ChannelOptions, type ChannelSnapshot, openChannel } from "./channel.js";
import { type Connection, type ConnectionState, type ConnectOptions, connect, tokenFrom } from "./connection.js";
import type { AtriumError } from "./errors.js";
import { type Monitor, type MonitorOptions, type MonitorSnapshot, openMonitor } from "./monitor.js";
import { type ChatSession, openSession } from "./session.js";
import type { SessionOptions, SessionSnapshot } from "./session-snapshot.js";

/**
 * A connection for as long as the component is there; undefined in its first render, and while `options` is null.
 * A new one when url, namespace or policy change; the newest `token` function is asked.
 */
export function useConnection<const N extends string = "/">(
  options: ConnectOptions<N> | null,
): {
  connection: Connection<N> | undefined;
  state: ConnectionState;
  error: AtriumError | undefined;
} {
  const connection = useOpened(
    (newest) => options && connect({ ...options, ...tokenOf(newest) }),
    options,
    options && JSON.stringify([options.url, options.namespace, options.policy]),
  );
  const state = useStore(connection && { subscribe: connection.onState, snapshot: () => connection.state });
  return { connection, state: state ?? "connecting", error: connection?.error };
}

/** A session of `/chat` and what is in it; undefined until it is opened. One for each session and connection. */
export function useSession(
  connection: Connection<"/chat"> | undefined,
  sessionId: string | null,
  options: SessionOptions = {},
): { session: ChatSession | undefined; snapshot: SessionSnapshot | undefined } {
  const session = useOpened(
    () => connection && sessionId !== null && openSession(connection, sessionId, options),
    options,
    sessionId,
    connection,
  );
  return { session, snapshot: useStore(session) };
}

/** A channel of `/trading`; renders at most once a frame, whatever its rate. */
export function useChannel<Data = any>(
  connection: Connection<"/trading"> | undefined,
  name: string | null,
  options: ChannelOptions = {},
): { channel: Channel<Data> | undefined; snapshot: ChannelSnapshot<Data> | undefined } {
  const channel = useOpened(
    () => connection && name !== null && openChannel<Data>(connection, name, options),
    options,
    name,
    connection,
  );
  return { channel, snapshot: useStore(channel) };
}

/** As the monitor's hook always was: `{ status, equipmentData }` for the address of a server, and more beside. */
export function useMonitor(
  urlOrOptions: string | MonitorOptions = {},
): MonitorSnapshot & { monitor: Monitor | undefined } {
  const options = typeof urlOrOptions === "string" ? { url: urlOrOptions } : urlOrOptions;
  const monitor = useOpened(
    (newest) => openMonitor({ ...options, ...tokenOf(newest) }),
    options,
    JSON.stringify([options.url, options.policy, options.filter]),
  );
  return { ...(useStore(monitor) ?? nothing), monitor };
}

const none = () => undefined;
const never = () => none;
const nothing: MonitorSnapshot = {
  status: "reconnecting",
  equipmentData: [],
  alarms: [],
  timestamp: undefined,
  error: undefined,
};

/** Opened anew when a key changes, and closed with the component. */
function useOpened<T extends { close(): void }, O>(
  open: (newest: { current: O }) => T | false | null | undefined,
  options: O,
  key: unknown,
  connection?: unknown,
): T | undefined {
  const newest = useRef(options);
  newest.current = options;
  const [opened, setOpened] = useState<T>();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the keys say what makes it another
  useEffect(() => {
    const made = open(newest) || undefined;
    setOpened(made);
    return () => made?.close();
  }, [key, connection]);
  return opened;
}

function tokenOf(newest: { current: Pick<ConnectOptions, "token"> | null }): Pick<ConnectOptions, "token"> {
  return { token: (reason) => tokenFrom(newest.current?.token, reason) };
}

function useStore<S>(
  store: { subscribe: (listener: () => void) => () => void; snapshot: () => S } | undefined,
): S | undefined {
  return useSyncExternalStore<S | undefined>(store?.subscribe ?? never, store?.snapshot ?? none, none);
}
