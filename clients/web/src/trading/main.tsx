import "./trading.css";
import { start } from "../shell/start";
import { Trading } from "./trading";

start("trading", <Trading />);
