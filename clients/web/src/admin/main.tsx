import "./admin.css";
import { start } from "../shell/start";
import { Admin } from "./admin";

start("admin", <Admin />);
