// The monitor seed's React hook without React: the same handlers, its state printed. Usage: node monitor.mjs URL

import WebSocket from "../clients/node_modules/ws/wrapper.mjs";

const url = process.argv[2];
const maxReconnectAttempts = 2; // 5 in the seed, 3 s apart
const reconnectDelay = 10;

let reconnectAttempts = 0;
let equipmentData = [];
let shown = false;

const tell = (what) => console.log(JSON.stringify(what));
const setStatus = (status) => tell({ status });

const getEquipmentColor = ({ status, tags }) => {
  if (!tags.connection) return "Gray";
  if (tags.error_tag === 1) return "Purple";
  return { stopped: "Red", idle: "Yellow", running: "Green" }[status];
};
const colours = () => Object.fromEntries(equipmentData.map((e) => [e.equipment_code, getEquipmentColor(e)]));

const connect = () => {
  const ws = new WebSocket(url);

  ws.onopen = () => {
    setStatus("connected");
    reconnectAttempts = 0;
  };

  ws.onmessage = (event) => {
    try {
      const data = JSON.parse(event.data);

      if (data.type === "equipment_status") {
        equipmentData = data.equipment;
        if (!shown) tell({ shown: colours() });
        shown = true;
      } else if (data.type === "connection_status") {
        tell({ connection_status: [data.status, data.message] });
      }
    } catch (error) {
      tell({ failed: String(error) });
    }
  };

  ws.onerror = () => {};

  ws.onclose = () => {
    if (reconnectAttempts < maxReconnectAttempts) {
      setStatus("reconnecting");
      reconnectAttempts++;
      setTimeout(connect, reconnectDelay);
    } else {
      setStatus("failed");
      equipmentData = equipmentData.map((e) => ({ ...e, tags: { ...e.tags, connection: false } }));
      tell({ last: colours() });
    }
  };
};

connect();
