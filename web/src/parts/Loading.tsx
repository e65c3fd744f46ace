/* A quiet bar while something loads; shown only when it takes noticeable time (see .loading). */
import LinearProgress from "@mui/material/LinearProgress";
import { useWords } from "../i18n";

export function Loading() {
  const { t } = useWords();
  return (
    <div className="loading">
      <LinearProgress color="secondary" aria-label={t.result.loading} />
    </div>
  );
}
