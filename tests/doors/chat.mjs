// The a2g seed's snippets for a browser's console; a second of theirs takes a millisecond.
// Usage: node chat.mjs socket|http URL TOKEN

import WebSocket from "../clients/node_modules/ws/wrapper.mjs";

const [what, url, token] = process.argv.slice(2);

const socket = () => {
  let answers = 0;
  let refusals = 0;
  const leaveAtTheEnd = () => answers === 4 && refusals > 0 && ws.close(1000);
  const sessionId = "test-session-" + Date.now();
  const ws = new WebSocket(`${url}/${sessionId}?token=${token}`);

  ws.onopen = () => {
    console.log("✅ WebSocket 연결됨");
    ws.send(
      JSON.stringify({
        type: "message",
        content: "안녕하세요! 테스트 메시지입니다.",
        timestamp: new Date().toISOString(),
      }),
    );
    sendTyping(true);
    setTimeout(() => sendTyping(false), 3);
    sendMultipleMessages();
    setTimeout(simulateStreaming, 5);
  };

  ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    switch (data.type) {
      case "message":
        console.log(`[${data.sender_type}]: ${data.content}`);
        break;
      case "stream_chunk":
        process.stdout.write(data.content);
        break;
      case "stream_end":
        console.log("\n스트리밍 완료. 토큰:", data.tokens_used);
        answers++;
        leaveAtTheEnd();
        break;
      case "error":
        console.log(data.code, data.event);
        refusals++;
        leaveAtTheEnd();
        break;
    }
  };

  ws.onclose = (event) => console.log(`🔌 연결 종료. 코드: ${event.code}, 이유: ${event.reason}`);

  const sendTyping = (isTyping) => ws.send(JSON.stringify({ type: "typing", is_typing: isTyping }));

  const sendMultipleMessages = () => {
    ["첫 번째 메시지", "두 번째 메시지", "세 번째 메시지"].forEach((msg, index) => {
      setTimeout(() => {
        ws.send(JSON.stringify({ type: "message", content: msg, timestamp: new Date().toISOString() }));
      }, index);
    });
  };

  const simulateStreaming = () => {
    const send = (message) => ws.readyState === WebSocket.OPEN && ws.send(JSON.stringify(message));
    const chunks = "이것은 스트리밍 테스트입니다.".split("");
    send({ type: "stream_start", message_id: "stream_" + Date.now() });
    chunks.forEach((chunk, index) => {
      setTimeout(() => send({ type: "stream_chunk", content: chunk, index: index }), index / 10);
    });
    setTimeout(() => send({ type: "stream_end", tokens_used: 16, latency_ms: 1600 }), chunks.length / 10);
  };
};

const http = async () => {
  const headers = { Authorization: `Bearer ${token}` };
  const json = { ...headers, "Content-Type": "application/json" };
  const tell = (name, what) => console.log(`${name} ${JSON.stringify(what)}`);

  const sessionRes = await fetch(`${url}/api/chat/sessions`, {
    method: "POST",
    headers: json,
    body: JSON.stringify({ agent_id: 1, title: "Test Chat Session" }),
  });
  const session = await sessionRes.json();
  tell("Created", session);
  await new Promise((go) => process.stdin.once("data", go)); // somebody listens
  process.stdin.unref();

  const messages = `${url}/api/chat/sessions/${session.session_id}/messages`;
  const msgRes = await fetch(messages, {
    method: "POST",
    headers: json,
    body: JSON.stringify({ content: "HTTP를 통한 메시지 전송 테스트", message_type: "text" }),
  });
  tell("Sent", await msgRes.json());
  tell("History", await (await fetch(messages, { headers })).json());
  tell("Sessions", await (await fetch(`${url}/api/chat/sessions`, { headers })).json());

  const formData = new FormData();
  formData.append("file", new File(["Hello, World!"], "test.txt", { type: "text/plain" }));
  formData.append("message", "파일을 업로드합니다.");
  const res = await fetch(`${url}/api/chat/sessions/${session.session_id}/files`, {
    method: "POST",
    headers,
    body: formData,
  });
  tell("Upload", await res.json());
};

await { socket, http }[what]();
