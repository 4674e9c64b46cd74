import { useEffect, useState } from "react";

export interface Readiness {
  readonly status: "ready" | "degraded";
  readonly checks: Readonly<Record<string, string>>;
}

const EVERY_MS = 5000;

/** Null until it is known. A degraded server answers 503, and says why all the same. */
export const useHealth = (): Readiness | "away" | null => {
  const [health, setHealth] = useState<Readiness | "away" | null>(null);
  useEffect(() => {
    let ended = false;
    const look = async () => {
      const found = await fetch("/readyz", { signal: AbortSignal.timeout(EVERY_MS) })
        .then((response) => response.json())
        .catch(() => "away");
      if (!ended) setHealth(found?.checks ? found : "away");
    };
    void look();
    const timer = setInterval(look, EVERY_MS);
    return () => {
      ended = true;
      clearInterval(timer);
    };
  }, []);
  return health;
};
