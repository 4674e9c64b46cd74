import "./copilot.css";
import { start } from "../shell/start";
import { Page } from "./page";

start("copilot", <Page />);
