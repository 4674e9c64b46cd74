/** What of the plant is shown, and how, kept in the page's address: a wall display's is its bookmark. */
import { useCallback, useEffect, useState } from "react";
import { STATUSES, type Status } from "./status";

export interface View {
  readonly line: string | null;
  readonly status: Status | null;
  readonly wall: boolean;
}

const LONGEST_LINE = 100;

const read = (): View => {
  const query = new URLSearchParams(location.search);
  const line = query.get("line");
  const status = query.get("status") as Status;
  return {
    line: line && line.length <= LONGEST_LINE ? line : null,
    status: STATUSES.includes(status) ? status : null,
    wall: query.has("wall"),
  };
};

const write = ({ line, status, wall }: View): void => {
  const query = new URLSearchParams();
  if (line !== null) query.set("line", line);
  if (status !== null) query.set("status", status);
  if (wall) query.set("wall", "");
  history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "").replace("wall=", "wall"));
};

export const useView = (): [View, (change: Partial<View>) => void] => {
  const [view, setView] = useState(read);
  const change = useCallback((part: Partial<View>) => setView((before) => ({ ...before, ...part })), []);
  useEffect(() => write(view), [view]);
  useWall(view.wall, change);
  return [view, change];
};

/** Without the frame, in full screen where it may be, and the screen stays on. Escape ends it. */
const useWall = (wall: boolean, change: (part: Partial<View>) => void): void => {
  useEffect(() => {
    if (!wall) return;
    const root = document.documentElement;
    root.dataset.wall = "";
    // From a bookmark, where nobody clicked, it may not: then it fills the window.
    if (navigator.userActivation?.isActive) void root.requestFullscreen?.().catch(() => undefined);
    let ended = false;
    let lock: WakeLockSentinel | undefined;
    const stayAwake = async () => {
      if (document.visibilityState !== "visible") return;
      const found = await navigator.wakeLock?.request("screen").catch(() => undefined);
      if (ended) void found?.release();
      else lock = found;
    };
    const left = () => {
      if (document.fullscreenElement === null) change({ wall: false });
    };
    const pressed = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) change({ wall: false });
    };
    void stayAwake();
    document.addEventListener("visibilitychange", stayAwake);
    document.addEventListener("fullscreenchange", left);
    document.addEventListener("keydown", pressed);
    return () => {
      ended = true;
      delete root.dataset.wall;
      document.removeEventListener("visibilitychange", stayAwake);
      document.removeEventListener("fullscreenchange", left);
      document.removeEventListener("keydown", pressed);
      void lock?.release();
      if (document.fullscreenElement) void document.exitFullscreen().catch(() => undefined);
    };
  }, [wall, change]);
};
