/** Light, dark, or as the system has it; remembered in this browser. */
import { useSyncExternalStore } from "react";
import { Remembered } from "./remembered";

export type Theme = "auto" | "light" | "dark";
export const THEMES: readonly Theme[] = ["auto", "light", "dark"];

const remembered = new Remembered("atrium.theme", THEMES, "auto");
const system = matchMedia("(prefers-color-scheme: dark)");

const show = (): void => {
  if (remembered.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = remembered.value;
};
show(); // before anything is drawn
remembered.subscribe(show);

export const useTheme = (): [Theme, (theme: Theme) => void] => [
  useSyncExternalStore(remembered.subscribe, () => remembered.value),
  remembered.set,
];

/** For what is drawn on a canvas: changes with the theme, the system's too. */
export const useDark = (): boolean =>
  useSyncExternalStore(
    (listener) => {
      const stop = remembered.subscribe(listener);
      system.addEventListener("change", listener);
      return () => {
        stop();
        system.removeEventListener("change", listener);
      };
    },
    () => (remembered.value === "auto" ? system.matches : remembered.value === "dark"),
  );

/** A colour of base.css as it is now, such as `--accent`, for a canvas. */
export const colour = (name: string): string => {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};
