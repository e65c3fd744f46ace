/* Reads `/api/v1/info`. Its figures are optional to the page: what is missing is simply not said. */

export interface Info {
  version: string | null;
  model: {
    name: string | null;
    sha256: string | null;
    threshold: number | null;
    prior: number | null;
    falseAlarms: number | null;
    misses: number | null;
    eer: number | null;
    auc: number | null;
    cllr: number | null;
    humans: number | null;
    synthetics: number | null;
    evalSet: string | null;
  };
  maxBytes: number | null;
  maxSeconds: number | null;
  maxFiles: number | null;
  keepRecordingsSeconds: number | null;
  keepResultsSeconds: number | null;
}

/* The first of several dotted paths that holds something. */
function pick(data: unknown, paths: string[]): unknown {
  for (const path of paths) {
    let at: unknown = data;
    for (const key of path.split("."))
      at = at !== null && typeof at === "object" ? (at as Record<string, unknown>)[key] : undefined;
    if (at !== undefined && at !== null) return at;
  }
  return null;
}

export function readInfo(data: unknown): Info {
  const num = (...paths: string[]): number | null => {
    const value = pick(data, paths);
    const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    return typeof parsed === "number" && Number.isFinite(parsed) ? parsed : null;
  };
  const str = (...paths: string[]): string | null => {
    const value = pick(data, paths);
    return typeof value === "string" && value !== "" ? value : null;
  };
  const rate = (name: string, long: string) =>
    num(`model.${name}`, `model.${long}`, `model.rates.${name}`, `model.rates.${long}`, `model.eval.${name}`,
        `model.eval_${name}`, `model.metadata.eval_${name}`);
  return {
    version: str("version", "sonde.version"),
    model: {
      name: str("model.name"),
      sha256: str("model.sha256"),
      threshold: num("model.threshold", "model.threshold_llr", "model.metadata.threshold_llr"),
      prior: num("model.prior", "prior", "model.metadata.prior"),
      falseAlarms: rate("fpr", "false_alarm_rate"),
      misses: rate("fnr", "miss_rate"),
      eer: rate("eer", "equal_error_rate"),
      auc: rate("auc", "area_under_curve"),
      cllr: rate("cllr", "log_likelihood_cost"),
      humans: rate("n_bonafide", "n_human"),
      synthetics: rate("n_spoof", "n_synthetic"),
      evalSet: str("model.eval_set", "model.rates.set", "model.eval.set", "model.metadata.eval_set"),
    },
    maxBytes: num("limits.max_bytes", "limits.max_upload_bytes", "limits.upload_bytes", "limits.bytes"),
    maxSeconds: num("limits.max_seconds", "limits.seconds", "limits.max_duration_s"),
    maxFiles: num("limits.max_files", "limits.files"),
    keepRecordingsSeconds: num("retention.recordings_s", "retention.audio_s", "retention.keep_recordings_s"),
    keepResultsSeconds: num("retention.results_s", "retention.analyses_s", "retention.keep_results_s"),
  };
}
