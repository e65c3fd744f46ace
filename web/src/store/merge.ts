/* How two pieces of news about one analysis become one. Events carry a growing id; answers to requests do not, and may
 * have been on their way while an event overtook them. */
import type { Analysis, Status } from "../api/types";

export type Known = Analysis & { seen?: number };

const finished = (status: Status) => status === "done" || status === "failed";

export function mergeAnalysis(old: Known | undefined, news: Analysis, eventId?: number): Known {
  if (!old) return eventId === undefined ? { ...news } : { ...news, seen: eventId };
  if (eventId !== undefined && old.seen !== undefined && eventId <= old.seen) return old;
  if (finished(old.status) && !finished(news.status)) return old;
  const merged: Known = { ...old, ...news };
  if (eventId !== undefined) merged.seen = eventId;
  if (news.result === undefined || (news.result === null && old.result)) merged.result = old.result;
  if (news.stability === undefined) merged.stability = old.stability;
  else if (old.stability && finished(old.stability.status) && news.stability && !finished(news.stability.status))
    merged.stability = old.stability;
  if (eventId === undefined && news.status === "running" && old.status === "running")
    merged.progress = Math.max(old.progress ?? 0, news.progress ?? 0);
  return merged;
}

export function mergeProgress(old: Known, progress: number): Known {
  if (finished(old.status) || progress < (old.progress ?? 0)) return old;
  return { ...old, status: "running", progress: Math.min(1, progress) };
}
