// The copilot seed's page, of which this is the reconnecting. A second takes a millisecond. Usage: node copilot.mjs URL

import WebSocket from "../clients/node_modules/ws/wrapper.mjs";

const url = process.argv[2];
const maxAttempts = 10;
let attempts = 0;
let connected = 0;

const connect = () => {
  const ws = new WebSocket(url);
  ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type === "connected") {
      attempts = 0;
      console.log(`connected ${++connected}`);
    } else if (message.type === "ping") {
      ws.send(JSON.stringify({ type: "pong" }));
    }
  };
  ws.onerror = () => {};
  ws.onclose = () => {
    if (attempts >= maxAttempts) {
      console.log("gave up");
      return;
    }
    const delay = Math.min(2 ** attempts++, 30);
    console.log(`retry in ${delay}`);
    setTimeout(connect, delay);
  };
};

connect();
