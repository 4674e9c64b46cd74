// A stock socket.io-client that plays one scenario against a running server and prints what is said, a line each:
//   node scenario.mjs SCENARIO URL TOKEN websocket|polling|upgrade
// `>` is sent, `=` is its ack, `<` is received. Scenarios end by themselves; the exit code tells whether they could.
import { io } from "socket.io-client";

const [scenario, url, token, transport] = process.argv.slice(2);
const transports = transport === "upgrade" ? ["polling", "websocket"] : [transport];

const say = (mark, name, payload) => console.log(`${mark} ${name} ${JSON.stringify(payload ?? {})}`);

function open(namespace, { events = [], auth = { token } } = {}) {
  const socket = io(url + namespace, { transports, auth, reconnection: false, forceNew: true });
  const waiting = [];
  const received = [];
  const arrive = (name, payload) => {
    say("<", name, payload);
    received.push([name, payload]);
    for (const each of waiting.splice(0)) each();
  };
  for (const name of events) socket.on(name, (payload) => arrive(name, payload));
  socket.on("connect_error", (error) => arrive("connect_error", { message: error.message, data: error.data }));
  socket.on("disconnect", (reason) => arrive("disconnect", { reason }));
  return {
    socket,
    answer: (name, payload) =>
      socket.on(name, (question, ack) => {
        arrive(name, question);
        say(">", "ack", payload);
        ack(payload);
      }),
    call: (name, payload) =>
      new Promise((resolve, reject) => {
        say(">", name, payload);
        socket.timeout(10000).emit(name, payload, (error, ack) => {
          if (error) return reject(error);
          say("=", name, ack);
          resolve(ack);
        });
      }),
    expect: async (name, matching = () => true) => {
      for (;;) {
        const index = received.findIndex(([each, payload]) => each === name && matching(payload));
        if (index >= 0) return received.splice(index, 1)[0][1];
        await new Promise((resolve) => waiting.push(resolve));
      }
    },
  };
}

const upgraded = (client) =>
  new Promise((resolve) => {
    if (transport !== "upgrade") return resolve();
    const { engine } = client.socket.io;
    if (engine.transport.name === "websocket") return resolve();
    engine.once("upgrade", resolve);
  });

const scenarios = {
  async monitor() {
    const client = open("/monitor", { events: ["connection_status", "equipment_status", "pong"], auth: {} });
    await client.expect("connection_status");
    for (let count = 0; count < 2; count++) await client.expect("equipment_status");
    await upgraded(client);
    await client.call("ping", { timestamp: "2025-11-03T10:30:45.123Z" });
    return client;
  },

  async trading() {
    const client = open("/trading", { events: ["connected", "tick", "chat_message", "news"] });
    await client.expect("connected");
    await upgraded(client);
    await client.call("subscribe", { channel: "ticks:005930" });
    const first = await client.expect("tick");
    await client.expect("tick", ({ seq }) => seq === first.seq + 1);
    await client.call("unsubscribe", { channel: "ticks:005930" });
    await client.call("subscribe", { channel: "general" });
    await client.call("chat_message", { message: "테슬라 주식 분석 요청" });
    await client.expect("chat_message");
    await client.call("subscribe", {});
    await client.call("publish", { channel: "user:js", type: "news", data: { text: "for you" } });
    await client.expect("news");
    return client;
  },

  async chat() {
    const events = ["connected", "message", "stream_start", "stream_chunk", "stream_end", "system", "typing"];
    const client = open("/chat", { events });
    await client.expect("connected");
    await upgraded(client);
    await client.call("join", { session_id: `js-${transport}` });
    const message = { session_id: `js-${transport}`, content: "대출 금리가 얼마인가요?", client_message_id: "m1" };
    await client.call("message", message);
    await client.expect("stream_end");
    await client.call("message", message);
    await client.call("leave", { session_id: `js-${transport}` });
    return client;
  },

  async copilot() {
    const events = ["connected", "processing", "response", "request_api", "error"];
    const client = open("/copilot", { events });
    await client.expect("connected");
    await upgraded(client);
    const columns = ["service", "cost"];
    client.answer("request_available_data", {
      datasets: [{ name: "cloud_costs", description: "Cloud cost by service", columns }],
    });
    await client.call("query", { text: "top 2 services by cost" });
    const { requestId } = await client.expect("request_api");
    const data = [
      { service: "EC2", cost: 30 },
      { service: "S3", cost: 10 },
      { service: "RDS", cost: 20 },
    ];
    await client.call("api_result", { requestId, data });
    await client.expect("response");
    await client.call("api_result", { requestId, data });
    return client;
  },

  async refused() {
    for (const auth of [{}, { token: "garbage" }]) {
      const client = open("/chat", { auth });
      await client.expect("connect_error");
      client.socket.close();
    }
    return open("/chat", { auth: {} });
  },

  // One half of a conversation between two kinds of client: says hello when the other has come, waits for its answer.
  async meet() {
    const client = open("/chat", { events: ["message", "system"] });
    await client.call("join", { session_id: "meeting" });
    await client.expect("system", ({ event }) => event === "user_joined");
    await client.call("message", { session_id: "meeting", content: "hello from js" });
    await client.expect("message", ({ content }) => content === "hello from python");
    return client;
  },
};

const client = await scenarios[scenario]();
if (transport === "upgrade" && client.socket.connected) {
  say("<", "transport", { name: client.socket.io.engine.transport.name });
}
client.socket.close();
