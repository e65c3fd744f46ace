/* Sentences that depend on codes from the server: reasons, errors, verdicts. An unknown code falls back to the server's text. */
import type { Analysis, AnalysisError, Reason, Result } from "../api/types";
import type { Problem } from "../api/problem";
import type { Dict } from "./en";

export function reasonSentence(t: Dict, reason: Reason): string {
  switch (reason.code) {
    case "no_speech":
    case "too_short":
    case "borderline":
      return t.reasons[reason.code](reason.measured, reason.limit);
    case "damaged":
    case "truncated":
    case "music":
    case "low_snr":
    case "clipped":
    case "narrow_band":
      return t.reasons[reason.code](reason.measured);
    case "synthetic_parts":
    case "disagreement":
      return t.reasons[reason.code](reason.start_s, reason.end_s);
    default:
      return reason.text;
  }
}

/* No verdict, but only because the score lies near the threshold: it still says something. */
export function isBorderline(result: Result): boolean {
  return result.reasons.some((reason) => reason.code === "borderline");
}

/* What happened, and what to do. */
export function errorSentences(t: Dict, error: AnalysisError | Problem): [string, string] {
  if (error.code === "network") return [t.errors.network[0]!, t.errors.network[1]!];
  const own = t.errors.byCode[error.code];
  if (own) return own;
  const what = "text" in error ? error.text : error.detail;
  return [what || t.errors.unknown[0]!, error.hint || (what ? "" : t.errors.unknown[1]!)];
}

export function verdictTitle(t: Dict, analysis: Pick<Analysis, "verdict" | "result">): string {
  if (analysis.verdict === "synthetic") return t.verdict.synthetic;
  if (analysis.verdict === "human") return t.verdict.human;
  const decider = analysis.result?.reasons.find((reason) => reason.decides);
  return (decider && t.verdict.because[decider.code]) || t.verdict.inconclusive;
}
