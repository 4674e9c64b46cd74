// Stock socket.io-clients that ask for recovery, and go to the next node when theirs is gone.
//   node roaming.mjs TOKEN SESSION URL[,URL…] COUNT
// It tells what they hear as JSON, a line each: [client, "connect", recovered], [client, event, payload].
import { io } from "socket.io-client";

const [token, session, nodes, count] = process.argv.slice(2);
const urls = nodes.split(",");

for (let client = 0; client < Number(count); client++) {
  let node = client;
  const socket = io(`${urls[node % urls.length]}/chat`, {
    transports: ["websocket"],
    forceNew: true,
    auth: { token, recovery: true },
    reconnectionDelay: 300,
  });
  const tell = (...line) => console.log(JSON.stringify([client, ...line]));
  socket.io.on("reconnect_attempt", () => (socket.io.uri = urls[++node % urls.length]));
  socket.on("connect", () => {
    tell("connect", socket.recovered);
    if (!socket.recovered) socket.emit("join", { session_id: session }, (ack) => tell("joined", ack.ok));
  });
  socket.onAny((event, payload) => tell(event, payload));
}
