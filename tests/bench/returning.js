// Stock clients that go to the other node when theirs dies: `node returning.js TOKEN COUNT URL URL`. A line for each
// connect: its moment (CLOCK_MONOTONIC, ns), and whether the client is recovered.
const { io } = require("socket.io-client");

const [token, count, ...urls] = process.argv.slice(2);
const LOST_MS = 20000;

function client() {
  let at = 0;
  let lost;
  const socket = io(urls[at] + "/bench", {
    forceNew: true,
    transports: ["websocket"],
    auth: { token, recovery: true },
    reconnectionDelay: 50,
    randomizationFactor: 0,
  });
  socket.on("connect", () => {
    console.log(`${process.hrtime.bigint()} ${socket.recovered}`);
    clearTimeout(lost);
    if (!socket.recovered) socket.emit("join", { room: "hall" });
  });
  socket.on("disconnect", () => {
    at = 1 - at;
    socket.io.uri = urls[at];
    lost = setTimeout(() => process.exit(1), LOST_MS);
  });
}

for (let i = 0; i < Number(count); i++) client();
