/** Whether this browser sends what the server asks for, or asks the person first. */
import { Remembered } from "../../shell/remembered";

export const asksMe = new Remembered<"send" | "ask">("atrium.copilot.consent", ["send", "ask"], "send");
