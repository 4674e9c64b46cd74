// Node's Socket.IO as it comes: `node node.js PORT SECRET [deflate|REDIS_URL]`.
const http = require("node:http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const jwt = require("jsonwebtoken");
const redis = require("redis");

const [port, secret, option] = process.argv.slice(2);
const BURST = 20;

const server = http.createServer();
const io = new Server(server, { perMessageDeflate: option === "deflate" });
const clients = option?.startsWith("redis:") ? [redis.createClient({ url: option }), redis.createClient({ url: option })] : [];
if (clients.length) io.adapter(createAdapter(...clients));
const bench = io.of("/bench");

bench.use((socket, next) => {
  try {
    socket.data.user = jwt.verify(socket.handshake.auth.token, secret, { algorithms: ["HS256"] }).sub;
    next();
  } catch {
    next(new Error("invalid token"));
  }
});

bench.on("connection", (socket) => {
  socket.on("echo", ({ text, number }, ack) => ack({ ok: true, text, number }));
  socket.on("join", ({ room }, ack) => {
    socket.join(room);
    ack({ ok: true });
  });
  socket.on("broadcast", emitting);
});

// As emitting.py.
async function emitting({ pattern, messages, interval_ms, payloads, room }) {
  let due = performance.now();
  for (let number = 1; number <= messages; number++) {
    const stamp = String(process.hrtime.bigint()).padStart(16, "0");
    (room ? bench.to(room) : bench).emit("tick", { ...payloads[(number - 1) % payloads.length], stamp });
    if (pattern === "paced") {
      due += interval_ms;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    } else if (pattern === "back_to_back") {
      await new Promise(setImmediate);
    } else if (number % BURST === 0) {
      await new Promise((resolve) => setTimeout(resolve, interval_ms));
    }
  }
}

Promise.all(clients.map((client) => client.connect())).then(() => {
  server.listen(Number(port), "127.0.0.1", () => console.log("READY"));
});
