/* Every analysis: search, filter, page on, export, delete several. */
import Button from "@mui/material/Button";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useSearchParams } from "react-router-dom";
import { deleteAnalysis, exportLink, listAnalyses, type ListQuery } from "../api/client";
import { toProblem } from "../api/problem";
import type { Status, Verdict } from "../api/types";
import { useWords } from "../i18n";
import { errorSentences } from "../i18n/say";
import { AnalysisRow } from "../parts/AnalysisRow";
import { Confirm } from "../parts/Confirm";
import { Icon } from "../parts/Icon";
import { Loading } from "../parts/Loading";
import { useNotice } from "../parts/Notice";
import { useNow } from "../parts/useNow";
import { useTitle } from "../parts/useTitle";
import { analysesSelectors, received, removed } from "../store/analyses";
import { useAppDispatch, useAppSelector } from "../store/store";

const VERDICTS: Verdict[] = ["human", "synthetic", "inconclusive"];
const STATUSES: Status[] = ["queued", "running", "done", "failed"];

interface Loaded {
  ids: string[];
  next: string | null;
}

/* The list for the filters; `busy` while it is on its way. */
function useList(query: ListQuery) {
  const dispatch = useAppDispatch();
  const online = useAppSelector((state) => state.connection.mode !== "offline");
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [trouble, setTrouble] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [round, setRound] = useState(0);
  const run = useRef(0);
  const load = useCallback(
    async (cursor: string | undefined, signal?: AbortSignal) => {
      const mine = ++run.current;
      setBusy(true);
      try {
        const page = await listAnalyses({ ...query, limit: 50, cursor }, signal);
        if (mine !== run.current) return;
        dispatch(received({ items: page.items }));
        const ids = page.items.map((item) => item.id);
        setLoaded((old) => ({ ids: cursor && old ? [...old.ids, ...ids.filter((id) => !old.ids.includes(id))] : ids, next: page.next }));
        setTrouble(null);
      } catch (error) {
        if (mine === run.current && toProblem(error).code !== "canceled") setTrouble(error);
      } finally {
        if (mine === run.current) setBusy(false);
      }
    },
    [query, dispatch],
  );
  useEffect(() => {
    if (!online) return;
    const abort = new AbortController();
    void load(undefined, abort.signal);
    return () => abort.abort();
  }, [load, round, online]);
  return { loaded, trouble, busy, more: () => loaded?.next && void load(loaded.next), again: () => setRound((value) => value + 1) };
}

export default function History() {
  const { t } = useWords();
  useTitle(t.title.history);
  const dispatch = useAppDispatch();
  const notice = useNotice();
  const now = useNow(30_000);
  const [search, setSearch] = useSearchParams();
  const q = search.get("q") ?? "";
  const verdict = VERDICTS.find((one) => one === search.get("verdict")) ?? "";
  const status = STATUSES.find((one) => one === search.get("status")) ?? "";
  const [typed, setTyped] = useState(q);
  const [selected, setSelected] = useState<string[]>([]);
  const [asking, setAsking] = useState(false);
  const query = useMemo<ListQuery>(() => ({ q, verdict, status }), [q, verdict, status]);
  const { loaded, trouble, busy, more, again } = useList(query);
  const entities = useAppSelector((state) => state.analyses.entities);
  const newest = useAppSelector((state) => analysesSelectors.selectAll(state.analyses)[0]);
  const filtered = q !== "" || verdict !== "" || status !== "";

  const put = useCallback(
    (key: string, value: string) => {
      setSelected([]);
      setSearch((old) => {
        const next = new URLSearchParams(old);
        if (value) next.set(key, value);
        else next.delete(key);
        return next;
      }, { replace: true });
    },
    [setSearch],
  );
  useEffect(() => {
    if (typed === q) return;
    const timer = setTimeout(() => put("q", typed.trim()), 300);
    return () => clearTimeout(timer);
  }, [typed, q, put]);

  const rows = (loaded?.ids ?? []).map((id) => entities[id]).filter((one) => one !== undefined);
  const marked = selected.filter((id) => entities[id]);
  const hasNewer = !filtered && newest !== undefined && loaded !== null && !loaded.ids.includes(newest.id);
  useEffect(() => {
    if (hasNewer && !busy && window.scrollY < 200) again();
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [newest?.id]);

  const remove = async () => {
    setAsking(false);
    let failed = 0;
    for (const id of marked) {
      try {
        await deleteAnalysis(id);
        dispatch(removed(id));
      } catch (error) {
        if (toProblem(error).status === 404) dispatch(removed(id));
        else failed++;
      }
    }
    setSelected([]);
    notice(failed > 0 ? t.history.partlyRemoved(failed) : t.actions.removed);
  };

  return (
    <div className="history">
      <div className="heading-row">
        <h1>{t.history.heading}</h1>
        <Button variant="outlined" component="a" href={exportLink(query)} download="sonde.csv" startIcon={<Icon name="down" />}>{t.history.csv}</Button>
      </div>
      <form className="filters" role="search" onSubmit={(event) => { event.preventDefault(); put("q", typed.trim()); }}>
        <label className="field field-wide">
          <span>{t.history.search}</span>
          <input type="search" value={typed} maxLength={200} onChange={(event) => setTyped(event.target.value)} data-testid="search" />
        </label>
        <label className="field">
          <span>{t.history.verdict}</span>
          <select value={verdict} onChange={(event) => put("verdict", event.target.value)} data-testid="filter-verdict">
            <option value="">{t.history.any}</option>
            {VERDICTS.map((one) => <option key={one} value={one}>{t.verdict[`${one}Short`]}</option>)}
          </select>
        </label>
        <label className="field">
          <span>{t.history.status}</span>
          <select value={status} onChange={(event) => put("status", event.target.value)} data-testid="filter-status">
            <option value="">{t.history.any}</option>
            {STATUSES.map((one) => <option key={one} value={one}>{t.status[one]}</option>)}
          </select>
        </label>
      </form>
      <div className="selection" role="status">
        {marked.length > 0 && (
          <>
            <span>{t.history.selected(marked.length)}</span>
            <Button size="small" variant="outlined" startIcon={<Icon name="trash" />} onClick={() => setAsking(true)}>{t.history.removeSelected}</Button>
            <Button size="small" onClick={() => setSelected([])}>{t.history.clear}</Button>
          </>
        )}
        {marked.length === 0 && hasNewer && <Button size="small" onClick={again}>{t.history.fresh}</Button>}
      </div>
      {trouble !== null && <p className="note" role="alert">{errorSentences(t, toProblem(trouble)).join(" ")}</p>}
      {!loaded && trouble === null && <Loading />}
      {loaded && rows.length === 0 && !busy && (
        <div className="empty">
          <p>{filtered ? t.history.emptyFiltered : t.history.empty}</p>
          {filtered && <Button variant="outlined" onClick={() => { setTyped(""); setSearch({}, { replace: true }); }}>{t.history.reset}</Button>}
        </div>
      )}
      {rows.length > 0 && <p className="list-head" aria-hidden="true">{t.row.head}</p>}
      {rows.length > 0 && (
        <ul className="list" aria-label={t.history.heading} aria-busy={busy} data-testid="history-list">
          {rows.map((one) => (
            <AnalysisRow
              key={one.id} one={one} now={now}
              lead={
                <label className="pick">
                  <input type="checkbox" checked={selected.includes(one.id)} aria-label={t.row.select(one.file.name)}
                    onChange={(event) => setSelected((old) => (event.target.checked ? [...old, one.id] : old.filter((id) => id !== one.id)))} />
                </label>
              }
            />
          ))}
        </ul>
      )}
      {loaded?.next && <div className="more"><Button variant="outlined" disabled={busy} onClick={more}>{t.history.more}</Button></div>}
      <Confirm open={asking} title={t.actions.removeMany(marked.length)} text={t.actions.removeText} yes={t.actions.remove} onNo={() => setAsking(false)} onYes={() => void remove()} />
    </div>
  );
}
