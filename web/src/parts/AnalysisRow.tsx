/* One analysis in a list: name, when, and its state or answer. */
import LinearProgress from "@mui/material/LinearProgress";
import { memo, type ReactNode } from "react";
import { Link } from "react-router-dom";
import { useWords } from "../i18n";
import { errorSentences } from "../i18n/say";
import type { Known } from "../store/merge";

function Answer({ one }: { one: Known }) {
  const { t, percent, share } = useWords();
  if (one.status === "done") {
    const verdict = one.verdict ?? "inconclusive";
    return (
      <span className="row-answer">
        <span className={`tag tag-${verdict}`}>{t.verdict[`${verdict}Short`]}</span>
        {one.probability !== null && verdict !== "inconclusive" && (
          <span className="row-p" aria-label={t.row.probability(one.probability)}>{percent(one.probability)}</span>
        )}
      </span>
    );
  }
  return (
    <span className="row-answer">
      <span className={`tag tag-${one.status}`}>{t.status[one.status]}</span>
      {one.status === "running" && one.progress !== null && <span className="row-p">{share(one.progress)}</span>}
    </span>
  );
}

export const AnalysisRow = memo(function AnalysisRow({ one, now, lead }: { one: Known; now: number; lead?: ReactNode }) {
  const { t, ago, dateTime, length } = useWords();
  return (
    <li className="row" data-testid="analysis-row" data-status={one.status} data-id={one.id}>
      {lead}
      <Link className="row-main" to={`/a/${one.id}`}>
        <span className="row-name">{one.file.name || one.id}</span>
        <span className="row-meta">
          {one.duration_s !== null && <span>{length(one.duration_s)}</span>}
          <time dateTime={one.created_at} title={dateTime(one.created_at)}>{ago(one.created_at, now)}</time>
          {one.status === "failed" && one.error && <span className="row-error">{errorSentences(t, one.error)[0]}</span>}
        </span>
        <Answer one={one} />
        {one.status === "running" && (
          <LinearProgress className="row-bar" color="secondary" aria-label={t.result.progress}
            variant={one.progress === null ? "indeterminate" : "determinate"} value={(one.progress ?? 0) * 100} />
        )}
      </Link>
    </li>
  );
});
