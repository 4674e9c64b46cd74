// A stock socket.io-client in /chat that comes back by itself, to another node than the one it lost. JSON, a line each:
//   node member.mjs TOKEN URL...
// It is told [id, event, payload], which it sends; it tells ["ack", id, answer], null when none came in 5 s or the
// connection was lost, ["connect", recovered], ["disconnect"], ["refused", error] and ["message", payload].
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { io } = createRequire(new URL("../clients/", import.meta.url))("socket.io-client");
const [token, ...urls] = process.argv.slice(2);
const tell = (...line) => console.log(JSON.stringify(line));

const socket = io(`${urls[0]}/chat`, { transports: ["websocket"], auth: { token, recovery: true } });
const elsewhere = () => {
  const others = urls.filter((url) => !socket.io.uri.startsWith(url));
  socket.io.uri = others[Math.floor(Math.random() * others.length)];
};
socket.io.on("reconnect_attempt", elsewhere);
socket.on("connect", () => tell("connect", !!socket.recovered));
socket.on("disconnect", () => tell("disconnect"));
socket.on("connect_error", (error) => {
  if (socket.active) return; // it tries again by itself
  tell("refused", error.data?.code ?? error.message);
  setTimeout(() => socket.connect(), 500 + 1000 * Math.random());
});
socket.on("message", (message) => tell("message", message));

for await (const line of createInterface({ input: process.stdin })) {
  const [id, event, payload] = JSON.parse(line);
  if (!socket.connected) tell("ack", id, null); // it would keep it, and send it out of its turn
  else socket.timeout(5000).emit(event, payload, (error, answer) => tell("ack", id, error ? null : answer));
}
socket.disconnect();
