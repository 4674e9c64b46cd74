import "./chat.css";
import { start } from "../shell/start";
import { Chat } from "./chat";

start("chat", <Chat />);
