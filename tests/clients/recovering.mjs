// A stock socket.io-client that does what it is told, and tells what it hears: JSON, a line each.
//   node recovering.mjs URL NAMESPACE websocket|polling
// It is told [command, ...arguments]; it tells [event, ...arguments], an offset among them as handlers are given it.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, namespace, transport] = process.argv.slice(2);
const brief = (_, value) => (typeof value === "string" ? value.slice(0, 100) : value);
const tell = (...line) => console.log(JSON.stringify(line, brief));

let auth = {};
const answers = {};
const socket = io(url + namespace, {
  transports: [transport],
  auth: (give) => give(auth),
  autoConnect: false,
  reconnection: false,
  reconnectionDelay: 10,
});
socket.on("connect", () => tell("connect", { id: socket.id, pid: socket._pid, recovered: !!socket.recovered }));
socket.on("disconnect", (reason) => tell("disconnect", reason));
socket.on("connect_error", (error) => tell("connect_error", error.data ?? error.message));
socket.onAny((event, ...args) => {
  const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
  tell(event, ...args);
  if (ack && event in answers) ack(answers[event]);
});

const commands = {
  auth: (values) => (auth = values),
  answer: (event, value) => (answers[event] = value),
  connect: () => socket.connect(),
  goodbye: () => socket.disconnect(),
  cut: () => socket.io.engine.close(),
  reconnect: (wanted) => socket.io.reconnection(wanted),
  know: (values) => Object.assign(socket, values),
  pause: () => socket.io.engine.transport.ws.pause(),
  resume: () => socket.io.engine.transport.ws.resume(),
  call: (event, payload) => socket.emit(event, payload, (ack) => tell("ack", ack)),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...args] = JSON.parse(line);
  commands[command](...args);
}
