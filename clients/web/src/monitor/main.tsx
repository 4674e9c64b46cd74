import "./monitor.css";
import "./details.css";
import { start } from "../shell/start";
import { MonitorPage } from "./page";

start("monitor", <MonitorPage />, { open: true });
