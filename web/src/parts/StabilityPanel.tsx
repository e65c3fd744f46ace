/* Does the answer hold after small changes? Asked for on first opening; shown as dots on one scale, and as a table. */
import LinearProgress from "@mui/material/LinearProgress";
import { useEffect, useRef, useState } from "react";
import { askStability } from "../api/client";
import { toProblem } from "../api/problem";
import type { StabilityRow } from "../api/types";
import { useWords } from "../i18n";
import { errorSentences } from "../i18n/say";
import { stabilityAsked } from "../store/analyses";
import type { Known } from "../store/merge";
import { useAppDispatch, useAppSelector } from "../store/store";
import { scalePosition } from "./LlrScale";

function Dots({ row, threshold }: { row: StabilityRow; threshold: number }) {
  const x = (llr: number) => 4 + scalePosition(llr) * 192;
  return (
    <svg className="dots" viewBox="0 0 200 20" preserveAspectRatio="none" aria-hidden="true">
      <path className="dots-line" d="M4 10h192" vectorEffect="non-scaling-stroke" />
      <path className="dots-limit" d={`M${x(threshold)} 0v20`} vectorEffect="non-scaling-stroke" />
      {row.llr !== null && (
        <path className={`dots-dot dots-${row.verdict ?? "inconclusive"}`} d={`M${x(row.llr)} 10h0`} vectorEffect="non-scaling-stroke" />
      )}
    </svg>
  );
}

function Table({ rows, threshold }: { rows: StabilityRow[]; threshold: number }) {
  const { t, signed } = useWords();
  return (
    <table className="stability" data-testid="stability-table">
      <thead>
        <tr>
          <th scope="col">{t.stability.variant}</th>
          <th scope="col" className="dots-cell"><span className="hidden">{t.stability.chart}</span></th>
          <th scope="col" className="num-cell">{t.stability.llr}</th>
          <th scope="col">{t.stability.verdict}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.variant}>
            <th scope="row">{t.stability.names[row.variant] ?? row.variant}</th>
            <td className="dots-cell"><Dots row={row} threshold={threshold} /></td>
            <td className="num-cell">{row.llr === null ? "–" : signed(row.llr)}</td>
            <td>
              {row.error ? <span className="quiet" title={errorSentences(t, row.error)[0]}>{t.stability.notScored}</span>
                : <span className={`tag tag-${row.verdict ?? "inconclusive"}`}>{t.verdict[`${row.verdict ?? "inconclusive"}Short`]}</span>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function StabilityPanel({ one, threshold }: { one: Known; threshold: number }) {
  const { t } = useWords();
  const dispatch = useAppDispatch();
  const online = useAppSelector((state) => state.connection.mode !== "offline");
  const [said, setSaid] = useState<string | null>(null);
  const asked = useRef(false);
  const { stability, id } = one;
  const { kept } = one.file;
  useEffect(() => {
    if (stability || !kept || asked.current || !online) return;
    asked.current = true;
    askStability(id).then(
      () => dispatch(stabilityAsked(id)),
      (error: unknown) => {
        const problem = toProblem(error);
        if (problem.code === "network") asked.current = false;
        else setSaid(errorSentences(t, problem).join(" "));
      },
    );
  }, [stability, kept, id, online, dispatch, t]);
  const scored = stability?.rows.filter((row) => row.llr !== null).length ?? 0;
  const busy = stability ? stability.status === "queued" || stability.status === "running" : kept && !said;
  return (
    <section className="stack-tight" aria-labelledby="stability-heading" data-testid="stability" data-status={stability?.status ?? ""}>
      <h2 id="stability-heading">{t.stability.heading}</h2>
      <p className="quiet">{!stability && !kept ? t.stability.unavailable : t.stability.lead}</p>
      <div role="status">
        {busy && (
          <div className="checking">
            <p>{t.stability.checking}</p>
            <LinearProgress color="secondary" aria-label={t.stability.checking} />
          </div>
        )}
        {stability?.status === "failed" && <p>{t.stability.failed}</p>}
        {said && <p>{said}</p>}
        {stability?.status === "done" && scored > 1 && (
          <p>
            {stability.spread !== null && t.stability.spread(stability.spread)}{" "}
            {stability.flips !== null && (stability.flips === 0 ? t.stability.holds : t.stability.flips(stability.flips, stability.rows.length))}{" "}
            {stability.seconds && one.duration_s !== null && stability.seconds < one.duration_s - 1 ? t.stability.part(stability.seconds) : ""}
          </p>
        )}
      </div>
      {stability && stability.rows.length > 0 && <Table rows={stability.rows} threshold={threshold} />}
    </section>
  );
}
