// The logic of the bank seed's `websocket.ts` and `api.ts`: five attempts to reconnect, ever further apart, then HTTP.
// A second takes a millisecond. Usage: node bank.mjs WEBSOCKET_URL HTTP_URL TOKEN

import WebSocket from "../clients/node_modules/ws/wrapper.mjs";

const [url, http, token] = process.argv.slice(2);
const maxReconnectAttempts = 5;
const question = "대출 금리가 얼마인가요?";
let reconnectAttempts = 0;
let fellBack = false;

const light = (colour) => console.log(`light ${colour}`);

const connect = () => {
  const ws = new WebSocket(url);
  const send = (message) => ws.send(JSON.stringify(message));
  let opened = false;

  ws.onopen = () => {
    opened = true;
    reconnectAttempts = 0;
    light("🟢");
    if (!fellBack) send({ type: "message", user_message: question });
  };

  ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    switch (message.type) {
      case "ping":
        send({ type: "pong" });
        break;
      case "status":
        if (fellBack && message.messages) {
          console.log(`history ${JSON.stringify(message.messages.map((each) => each.sender_type))}`);
          ws.close(1000);
        }
        break;
      case "response":
        if (message.data.ai_message) console.log("answered by 🟢");
        break;
      case "error":
        console.log(message.code, message.message);
        break;
    }
  };

  ws.onerror = () => {};

  ws.onclose = (event) => {
    if (event.code === 1000) return;
    if (opened) light("🟡");
    if (fellBack) setTimeout(connect, 20);
    else if (reconnectAttempts < maxReconnectAttempts) {
      console.log("retry");
      setTimeout(connect, 2 ** reconnectAttempts++);
    } else fallBack();
  };
};

const fallBack = async () => {
  light("🔵");
  fellBack = true;
  const session_id = new URL(url).pathname.split("/").at(-1);
  const response = await fetch(http, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
    body: JSON.stringify({ session_id, user_message: question }),
  });
  if ((await response.json()).ai_message) console.log("answered by 🔵");
  light("🟡");
  connect();
};

light("🟡");
connect();
