/* How long to wait before the next try: doubling, with jitter, so that many pages do not come back all at once. */
export function backoffMs(attempt: number, random: () => number = Math.random, baseMs = 500, capMs = 30_000): number {
  const full = Math.min(capMs, baseMs * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random());
}
