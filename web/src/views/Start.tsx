/* The start page: give recordings, watch them go, see the latest answers. */
import Button from "@mui/material/Button";
import { lazy, Suspense, useCallback, useEffect, useRef, useState } from "react";
import { Link, useLocation, useNavigate } from "react-router-dom";
import { useWords } from "../i18n";
import { AnalysisRow } from "../parts/AnalysisRow";
import { Icon } from "../parts/Icon";
import { Loading } from "../parts/Loading";
import { UploadRow } from "../parts/UploadRow";
import { useNow } from "../parts/useNow";
import { useTitle } from "../parts/useTitle";
import { analysesSelectors } from "../store/analyses";
import { useAppSelector } from "../store/store";
import { useUploads } from "../upload/context";

const Recorder = lazy(() => import("../parts/Recorder"));
const RECENT = 8;

/* Opens the answer by itself when exactly one file was given. */
function useOpenSingle(): (keys: string[]) => void {
  const [key, setKey] = useState<string | null>(null);
  const upload = useAppSelector((state) => (key ? state.uploads.byKey[key] : undefined));
  const navigate = useNavigate();
  const uploads = useUploads();
  useEffect(() => {
    if (!key || !upload || upload.state !== "accepted") return;
    setKey(null);
    if (upload.analyses.length !== 1 || upload.rejected.length > 0) return;
    uploads.dismiss(key);
    navigate(`/a/${upload.analyses[0]}`);
  }, [key, upload, navigate, uploads]);
  return useCallback((keys: string[]) => setKey(keys.length === 1 ? keys[0]! : null), []);
}

function Uploads() {
  const { t } = useWords();
  const { order, byKey } = useAppSelector((state) => state.uploads);
  if (order.length === 0) return null;
  const rows = order.map((key) => byKey[key]!);
  const done = rows.filter((row) => row.state === "accepted").length;
  return (
    <section aria-labelledby="uploads-heading" className="stack-tight">
      <h2 id="uploads-heading">{t.upload.heading}</h2>
      <p className="hidden" role="status">{t.upload.announce(done, rows.length)}</p>
      <ul className="list">{rows.map((row) => <UploadRow key={row.key} upload={row} />)}</ul>
    </section>
  );
}

function Recent() {
  const { t } = useWords();
  const all = useAppSelector((state) => analysesSelectors.selectAll(state.analyses));
  const loaded = useAppSelector((state) => state.analyses.loaded);
  const now = useNow(30_000);
  return (
    <section aria-labelledby="recent-heading" className="stack-tight">
      <div className="heading-row">
        <h2 id="recent-heading">{t.start.recent}</h2>
        {all.length > 0 && <Link to="/history">{t.start.all}</Link>}
      </div>
      {all.length > 0 && <p className="list-head" aria-hidden="true">{t.row.head}</p>}
      {all.length > 0 && (
        <ul className="list" data-testid="recent">
          {all.slice(0, RECENT).map((one) => <AnalysisRow key={one.id} one={one} now={now} />)}
        </ul>
      )}
      {all.length === 0 && loaded && <p className="quiet">{t.start.none}</p>}
    </section>
  );
}

export function Start() {
  const { t } = useWords();
  useTitle(t.title.start);
  const info = useAppSelector((state) => state.connection.info);
  const uploads = useUploads();
  const busy = useAppSelector((state) => state.uploads.order.length > 0);
  const input = useRef<HTMLInputElement>(null);
  const [recording, setRecording] = useState(false);
  const watch = useOpenSingle();
  const dropped = (useLocation().state as { keys?: string[] } | null)?.keys;
  useEffect(() => {
    if (dropped) watch(dropped);
  }, [dropped, watch]);
  const add = useCallback(
    (files: File[]) => {
      if (files.length > 0) watch(uploads.add(files));
    },
    [uploads, watch],
  );
  return (
    <div className="start">
      <section className="ask">
        <h1>{t.start.question}</h1>
        <p className="lead">{t.start.lead}</p>
        <div className={busy || recording ? "drop drop-compact" : "drop"} data-testid="drop">
          <svg className="drop-mark" viewBox="0 0 160 48" aria-hidden="true">
            <path d="M8 24h10M28 18v12M38 10v28M48 15v18M58 4v40M68 12v24M78 20v8" />
            <path className="drop-mark-b" d="M88 21v6M96 14v20M104 14v20M112 14v20M120 14v20M128 21v6M138 24h14" />
          </svg>
          <p className="drop-text">{t.start.drop}</p>
          <div className="buttons">
            <Button variant="contained" startIcon={<Icon name="plus" />} onClick={() => input.current?.click()}>{t.start.choose}</Button>
            <Button variant="outlined" startIcon={<Icon name="mic" />} aria-expanded={recording} onClick={() => setRecording(true)}>
              {t.start.record}
            </Button>
          </div>
          <input
            ref={input} type="file" multiple hidden data-testid="file-input" aria-label={t.start.choose}
            onChange={(event) => {
              add(Array.from(event.target.files ?? []));
              event.target.value = "";
            }}
          />
          <p className="drop-note">
            {t.start.formats} {info?.maxBytes ? t.start.limit(info.maxBytes) : ""} {t.start.stays}
          </p>
        </div>
        {recording && (
          <Suspense fallback={<Loading />}>
            <Recorder
              onClose={() => setRecording(false)}
              onSend={(file) => {
                setRecording(false);
                add([file]);
              }}
            />
          </Suspense>
        )}
      </section>
      <Uploads />
      <Recent />
    </div>
  );
}
