/** Two short tones at a new alarm, for those who want them; off until then, and remembered. */
import { useSyncExternalStore } from "react";
import { Remembered } from "../shell/remembered";

const remembered = new Remembered<"off" | "on">("atrium.monitor.sound", ["off", "on"], "off");
let context: AudioContext | undefined;

const TONES: Record<string, readonly number[]> = { error: [880, 660], disconnected: [440, 440] };
const TONE_SECONDS = 0.18;
const LOUDNESS = 0.2;

const ready = (): AudioContext => {
  context ??= new AudioContext();
  if (context.state === "suspended") void context.resume();
  return context;
};

/** A browser lets a page sound only after its person did something there. */
const wake = (): void => {
  if (remembered.value === "on") ready();
};
addEventListener("pointerdown", wake, { once: true });
addEventListener("keydown", wake, { once: true });

export const useSound = (): [boolean, (on: boolean) => void] => [
  useSyncExternalStore(remembered.subscribe, () => remembered.value === "on"),
  (on) => {
    remembered.set(on ? "on" : "off");
    if (on) sound("error");
  },
];

/** Nothing, where it is off. */
export const sound = (kind: string): void => {
  if (remembered.value === "off") return;
  const audio = ready();
  (TONES[kind] ?? TONES.error ?? []).forEach((frequency, index) => {
    const start = audio.currentTime + index * TONE_SECONDS;
    const tone = audio.createOscillator();
    const gain = audio.createGain();
    tone.frequency.value = frequency;
    gain.gain.setValueAtTime(LOUDNESS, start);
    gain.gain.exponentialRampToValueAtTime(0.001, start + TONE_SECONDS);
    tone.connect(gain).connect(audio.destination);
    tone.start(start);
    tone.stop(start + TONE_SECONDS);
  });
};
