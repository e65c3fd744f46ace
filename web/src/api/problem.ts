/* Turns whatever went wrong with a request into one small shape that the page can show and decide by. */
import axios from "axios";

export interface Problem {
  code: string;
  status: number;
  detail: string;
  hint: string;
  /* Seconds to wait, when the server named them. */
  retryAfter: number | null;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function retryAfterSeconds(header: unknown, now = Date.now()): number | null {
  if (typeof header !== "string" || header.trim() === "") return null;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - now) / 1000));
}

export function problemFrom(status: number, data: unknown, retryAfter: unknown = null): Problem {
  const body = data !== null && typeof data === "object" ? (data as Record<string, unknown>) : {};
  return {
    code: text(body.code) || `http_${status}`,
    status,
    detail: text(body.detail) || text(body.title),
    hint: text(body.hint),
    retryAfter: retryAfterSeconds(retryAfter),
  };
}

export function toProblem(error: unknown): Problem {
  if (axios.isCancel(error)) return { code: "canceled", status: 0, detail: "", hint: "", retryAfter: null };
  if (axios.isAxiosError(error) && error.response)
    return problemFrom(error.response.status, error.response.data, error.response.headers["retry-after"]);
  return { code: "network", status: 0, detail: "", hint: "", retryAfter: null };
}

/* Whether the same request may succeed later without the user changing anything. */
export function isTemporary(problem: Problem): boolean {
  return problem.code === "network" || [408, 429, 502, 503, 504].includes(problem.status);
}
