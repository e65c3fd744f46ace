/* The time, again every `ms`, for "3 minutes ago" and countdowns. */
import { useEffect, useState } from "react";

export function useNow(ms: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms]);
  return now;
}
