/* One file on its way: progress, cancel, retry, and what the server said. */
import Button from "@mui/material/Button";
import IconButton from "@mui/material/IconButton";
import LinearProgress from "@mui/material/LinearProgress";
import { Link } from "react-router-dom";
import { useWords } from "../i18n";
import { errorSentences } from "../i18n/say";
import { useAppSelector } from "../store/store";
import type { Upload } from "../store/uploads";
import { useUploads } from "../upload/context";
import { Icon } from "./Icon";
import { useNow } from "./useNow";

function Countdown({ at }: { at: number }) {
  const { t } = useWords();
  const now = useNow(1000);
  return <>{t.upload.pausing(Math.max(1, Math.ceil((at - now) / 1000)))}</>;
}

function State({ upload }: { upload: Upload }) {
  const { t } = useWords();
  switch (upload.state) {
    case "sending":
      return <>{upload.sent >= 1 ? t.upload.storing : t.upload.sending(upload.sent)}</>;
    case "pausing":
      return upload.retryAt === null ? null : <Countdown at={upload.retryAt} />;
    case "accepted":
      return <>{upload.analyses.length > 0 ? t.upload.accepted(upload.analyses.length) : t.upload.refused}</>;
    default:
      return <>{t.upload[upload.state]}</>;
  }
}

export function UploadRow({ upload }: { upload: Upload }) {
  const { t, bytes } = useWords();
  const uploads = useUploads();
  const maxBytes = useAppSelector((state) => state.connection.info?.maxBytes ?? null);
  const busy = upload.state === "waiting" || upload.state === "sending" || upload.state === "pausing";
  let said: [string, string] | null = null;
  if (upload.problem)
    said = upload.problem.code === "too_large" && upload.problem.status === 0
      ? [t.upload.tooLarge(upload.bytes, maxBytes), ""] : errorSentences(t, upload.problem);
  return (
    <li className="upload" data-testid="upload-row" data-state={upload.state}>
      <div className="upload-text">
        <span className="row-name">{upload.name}</span>
        <span className="row-meta">
          <span>{bytes(upload.bytes)}</span>
          <span className="upload-state"><State upload={upload} /></span>
        </span>
      </div>
      <div className="upload-actions">
        {upload.state === "accepted" && upload.analyses.length === 1 && (
          <Button size="small" variant="outlined" component={Link} to={`/a/${upload.analyses[0]}`}>{t.upload.open}</Button>
        )}
        {(upload.state === "failed" || upload.state === "canceled" || upload.state === "pausing") &&
          upload.problem?.code !== "too_large" && upload.problem?.code !== "empty_file" && (
          <Button size="small" variant="outlined" startIcon={<Icon name="retry" />} onClick={() => uploads.retry(upload.key)}>
            {t.upload.retry}
          </Button>
        )}
        {busy ? (
          <Button size="small" onClick={() => uploads.cancel(upload.key)}>{t.upload.cancel}</Button>
        ) : (
          <IconButton size="small" aria-label={`${t.upload.dismiss}: ${upload.name}`} onClick={() => uploads.dismiss(upload.key)}>
            <Icon name="close" />
          </IconButton>
        )}
      </div>
      {busy && (
        <LinearProgress className="upload-bar" color="secondary" aria-label={t.upload.of(upload.name)}
          variant={upload.state === "sending" && upload.sent >= 1 ? "indeterminate" : "determinate"} value={upload.sent * 100} />
      )}
      {said && <p className="upload-problem">{said[0]} {said[1]}</p>}
      {upload.rejected.length > 0 && (
        <details className="upload-problem" open={upload.rejected.length <= 3}>
          <summary>{t.upload.rejected(upload.rejected.length)}</summary>
          <ul>
            {upload.rejected.map((one, index) => (
              <li key={index}><span className="row-name">{one.name}</span>: {errorSentences(t, one.error).join(" ")}</li>
            ))}
          </ul>
        </details>
      )}
    </li>
  );
}
