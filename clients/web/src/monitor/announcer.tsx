import { useEffect, useState } from "react";
import { useWords } from "../shell/words";
import type { Plant } from "./plant";
import { sound } from "./sound";
import { WORDS } from "./words";

const GATHER_MS = 700; // a whole line may stop at once: that is one sentence

/** Reads new alarms out at once, whatever the person is doing, and sounds. */
export function Announcer({ plant }: { plant: Plant }) {
  const t = useWords(WORDS);
  const [text, setText] = useState("");
  useEffect(() => {
    let gathered: string[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = plant.monitor.onAlarm((notice) => {
      if (notice.state !== "raised" || notice.shelved_until) return;
      const word = notice.kind === "disconnected" ? t.disconnected : t.error;
      gathered.push(t.newAlarm(notice.equipment_name ?? notice.equipment_code, word));
      timer ??= setTimeout(() => {
        const [first = ""] = gathered;
        setText(gathered.length > 1 ? t.newAlarms(gathered.length, first) : first);
        gathered = [];
        timer = undefined;
        sound(notice.kind);
      }, GATHER_MS);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [plant, t]);
  return (
    <div role="alert" className="quiet">
      {text}
    </div>
  );
}
