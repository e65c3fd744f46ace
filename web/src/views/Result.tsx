/* One analysis, in whatever state it is. */
import Button from "@mui/material/Button";
import LinearProgress from "@mui/material/LinearProgress";
import { useCallback, useEffect, useState } from "react";
import { Link, useParams } from "react-router-dom";
import { getAnalysis } from "../api/client";
import { toProblem, type Problem } from "../api/problem";
import { useWords } from "../i18n";
import { errorSentences, isBorderline, verdictTitle } from "../i18n/say";
import { Actions } from "../parts/Actions";
import { Alike } from "../parts/Alike";
import { Details } from "../parts/Details";
import { Loading } from "../parts/Loading";
import { StabilityPanel } from "../parts/StabilityPanel";
import { useTitle } from "../parts/useTitle";
import { VerdictPanel } from "../parts/VerdictPanel";
import { Where } from "../parts/Where";
import { received, removed } from "../store/analyses";
import type { Known } from "../store/merge";
import { selectAnalysis, useAppDispatch, useAppSelector } from "../store/store";

/* Gets the whole analysis when it is opened, when it is done, and when its stability is. */
function useAnalysis(id: string) {
  const dispatch = useAppDispatch();
  const one = useAppSelector((state) => selectAnalysis(state, id));
  const gone = useAppSelector((state) => state.analyses.gone[id] === true);
  const mode = useAppSelector((state) => state.connection.mode);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [tries, setTries] = useState(0);
  const news = `${one?.status}/${one?.stability_status ?? ""}`;
  useEffect(() => {
    if (gone) return;
    const abort = new AbortController();
    getAnalysis(id, abort.signal).then(
      (analysis) => {
        setProblem(null);
        dispatch(received({ items: [analysis] }));
      },
      (error: unknown) => {
        const found = toProblem(error);
        if (found.code === "canceled") return;
        if (found.status === 404) dispatch(removed(id));
        setProblem(found);
      },
    );
    return () => abort.abort();
  }, [id, gone, news, tries, dispatch]);
  const again = useCallback(() => setTries((value) => value + 1), []);
  /* After an outage, and while there is no socket to tell of the stability, ask again. */
  const unsure = problem !== null && problem.status !== 404;
  const waits = one?.stability !== null && one?.stability !== undefined && (one.stability.status === "queued" || one.stability.status === "running");
  useEffect(() => {
    if (mode === "offline" || mode === "connecting") return;
    if (unsure) again();
    if (!waits) return;
    const timer = setInterval(again, mode === "polling" ? 3000 : 15_000);
    return () => clearInterval(timer);
  }, [mode, unsure, waits, again]);
  return { one, gone: gone || problem?.status === 404, problem, again };
}

function Missing() {
  const { t } = useWords();
  return (
    <section className="stack" data-testid="missing">
      <h1>{t.result.missing}</h1>
      <p>{t.result.missingText}</p>
      <div className="buttons">
        <Button variant="contained" component={Link} to="/">{t.result.toStart}</Button>
        <Button variant="outlined" component={Link} to="/history">{t.result.toHistory}</Button>
      </div>
    </section>
  );
}

function Pending({ one }: { one: Known }) {
  const { t, share } = useWords();
  const running = one.status === "running";
  return (
    <section className="panel pending">
      <h2>{running ? t.result.running : t.result.queued}</h2>
      <p>{running ? t.result.runningText : t.result.queuedText}</p>
      <div className="pending-bar">
        <LinearProgress key={one.status} color="secondary" aria-label={t.result.progress}
          variant={running && one.progress !== null ? "determinate" : "indeterminate"} value={(one.progress ?? 0) * 100} />
        {running && one.progress !== null && <span className="num">{share(one.progress)}</span>}
      </div>
    </section>
  );
}

function Failed({ one }: { one: Known }) {
  const { t } = useWords();
  const [what, todo] = errorSentences(t, one.error ?? { code: "unknown", text: "" });
  return (
    <section className="panel failed" role="alert">
      <h2>{t.result.failed}</h2>
      <p>{what}</p>
      {todo && <p><strong>{t.result.failedWhat}</strong> {todo}</p>}
    </section>
  );
}

export default function Result() {
  const { id = "" } = useParams();
  const words = useWords();
  const { t } = words;
  const { one, gone, problem, again } = useAnalysis(id);
  useTitle(one?.file.name ?? (gone ? t.title.missing : t.title.start));
  if (gone) return <Missing />;
  if (!one) {
    if (!problem) return <Loading />;
    const [what, todo] = errorSentences(t, problem);
    return (
      <section className="stack" role="alert">
        <h1>{t.result.loadFailed}</h1>
        <p>{what} {todo}</p>
        <div><Button variant="contained" onClick={again}>{t.result.tryAgain}</Button></div>
      </section>
    );
  }
  const result = one.status === "done" ? one.result : null;
  const announced = result ? verdictTitle(t, { verdict: result.verdict, result }) : t.status[one.status];
  return (
    <article className="result" data-testid="result" data-status={one.status}>
      <p className="hidden" role="status">{announced}</p>
      <header className="result-head">
        <div className="result-title">
          <h1 className="file-name" title={one.file.name}>{one.file.name || one.id}</h1>
          <p className="row-meta">
            {one.duration_s !== null && <span>{words.length(one.duration_s)}</span>}
            <span>{words.bytes(one.file.bytes)}</span>
            <time dateTime={one.created_at}>{words.dateTime(one.created_at)}</time>
          </p>
        </div>
        <Actions one={one} />
      </header>
      {one.reused_from && (
        <p className="note" data-testid="reused">
          {t.result.reused} <Link to={`/a/${one.reused_from}`}>{t.result.reusedLink}</Link>
        </p>
      )}
      {(one.status === "queued" || one.status === "running") && <Pending one={one} />}
      {one.status === "failed" && <Failed one={one} />}
      {one.status === "done" && !result && !problem && <Loading />}
      {one.status === "done" && !result && problem && <p className="note">{t.result.loadFailed}</p>}
      {result && (
        <>
          <VerdictPanel result={result} />
          <Where key={one.id} one={one} result={result} />
          {(result.verdict !== "inconclusive" || isBorderline(result) || one.stability) && <StabilityPanel key={`s${one.id}`} one={one} threshold={result.threshold} />}
          <Alike result={result} />
          <Details one={one} result={result} />
        </>
      )}
    </article>
  );
}
