/* Reads `/api/v1/info`. Its figures are optional to the page: what is missing is simply not said. */

export interface Info {
  version: string | null;
  model: {
    name: string | null;
    sha256: string | null;
    threshold: number | null;
    falseAlarms: number | null;
    misses: number | null;
    undecidedHuman: number | null;
    undecidedSynthetic: number | null;
    eer: number | null;
    auc: number | null;
    cllr: number | null;
    humans: number | null;
    synthetics: number | null;
  };
  maxBytes: number | null;
  keepRecordingsDays: number | null;
  keepResultsDays: number | null;
}

function pick(data: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>((at, key) => (at !== null && typeof at === "object" ? (at as Record<string, unknown>)[key] : undefined), data);
}

export function readInfo(data: unknown): Info {
  const num = (path: string): number | null => {
    const value = pick(data, path);
    return typeof value === "number" && Number.isFinite(value) ? value : null;
  };
  const str = (path: string): string | null => {
    const value = pick(data, path);
    return typeof value === "string" && value !== "" ? value : null;
  };
  return {
    version: str("version"),
    model: {
      name: str("model.name"),
      sha256: str("model.sha256"),
      threshold: num("model.threshold"),
      falseAlarms: num("model.rates.false_alarm"),
      misses: num("model.rates.miss"),
      undecidedHuman: num("model.rates.undecided_human"),
      undecidedSynthetic: num("model.rates.undecided_synthetic"),
      eer: num("model.rates.eer"),
      auc: num("model.rates.auc"),
      cllr: num("model.rates.cllr"),
      humans: num("model.rates.human_clips"),
      synthetics: num("model.rates.synthetic_clips"),
    },
    maxBytes: num("limits.upload_bytes"),
    keepRecordingsDays: num("retention.audio_days"),
    keepResultsDays: num("retention.result_days"),
  };
}
