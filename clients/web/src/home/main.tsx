import "./home.css";
import { start } from "../shell/start";
import { Home } from "./home";

start("home", <Home />, { open: true });
