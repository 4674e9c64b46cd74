// Node's Socket.IO as it comes: `node node.js PORT SECRET [deflate]`.
const http = require("node:http");
const { Server } = require("socket.io");
const jwt = require("jsonwebtoken");

const [port, secret, deflate] = process.argv.slice(2);
const BURST = 20;

const server = http.createServer();
const bench = new Server(server, { perMessageDeflate: deflate === "deflate" }).of("/bench");

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
  socket.on("broadcast", emitting);
});

// As emitting.py.
async function emitting({ pattern, messages, interval_ms, payloads }) {
  let due = performance.now();
  for (let number = 1; number <= messages; number++) {
    const stamp = String(process.hrtime.bigint()).padStart(16, "0");
    bench.emit("tick", { ...payloads[(number - 1) % payloads.length], stamp });
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

server.listen(Number(port), "127.0.0.1", () => console.log("READY"));
