/* What the HTTP API sends, as docs/api.md describes it. */

export type Status = "queued" | "running" | "done" | "failed";
export type Verdict = "human" | "synthetic" | "inconclusive";

export interface AnalysisError {
  code: string;
  text: string;
  hint?: string | null;
}

export interface Window {
  start_s: number;
  end_s: number;
  speech_s: number;
  llr: number | null;
  p_synthetic: number | null;
}

export interface Part {
  start_s: number;
  end_s: number;
  llr: number;
}

export interface Reason {
  code: string;
  decides: boolean;
  measured: number;
  limit: number;
  unit: string;
  start_s?: number; // of the stretch that it is about; none: the whole recording
  end_s?: number;
  text: string;
}

export interface Media {
  container: string | null;
  codec: string | null;
  sample_rate: number | null;
  channels: number | null;
  bit_rate: number | null;
  damaged: number;
  truncated: boolean;
}

/* How often the model was wrong on recordings of one class that this one belongs to: shares with their 95 % intervals. */
export interface GroupRate {
  by: string;
  name: string;
  human: number;
  synthetic: number;
  false_alarm: number;
  false_alarm_low: number;
  false_alarm_high: number;
  miss: number;
  miss_low: number;
  miss_high: number;
}

export interface Result {
  verdict: Verdict;
  p_synthetic: number | null;
  prior: number | null;
  llr: number | null;
  threshold: number;
  human_below?: number; // answers of before there was a gap between the verdicts have none
  synthetic_from?: number;
  reasons: Reason[];
  duration_s: number;
  speech_s: number;
  timeline: Window[];
  synthetic_parts: Part[];
  media: Media | null;
  rates?: GroupRate[]; // answers of before sonde measured them have none
  model: { name: string; sha256: string; isa?: string };
  sha256: string;
  bytes: number;
}

export interface StabilityRow {
  variant: string;
  llr: number | null;
  p_synthetic: number | null;
  verdict: Verdict | null;
  error: AnalysisError | null;
}

export interface Stability {
  status: Status;
  rows: StabilityRow[];
  spread: number | null;
  flips: number | null;
  /* How much of a long recording was looked at. */
  seconds?: number | null;
}

export interface Links {
  self: string;
  status: string;
  result: string;
  audio: string;
  picture: string;
  page: string;
}

export interface Analysis {
  id: string;
  status: Status;
  progress: number | null;
  probability: number | null;
  verdict: Verdict | null;
  llr: number | null;
  duration_s: number | null;
  speech_s: number | null;
  file: { name: string; bytes: number; sha256: string | null; kept: boolean };
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  model: { name: string; sha256: string } | null;
  reused_from: string | null;
  error: AnalysisError | null;
  links: Links;
  /* Only of a single analysis. */
  result?: Result | null;
  stability?: Stability | null;
  /* Only in events. */
  stability_status?: Status | null;
}

export interface Page {
  items: Analysis[];
  next: string | null;
}

/* An upload names what it made; the analyses themselves come as events, or are asked for. */
export interface UploadAnswer {
  analyses: Pick<Analysis, "id" | "status" | "links">[];
  rejected: { name: string; error: AnalysisError }[];
}

export interface Picture {
  duration_s: number;
  peaks: { columns: number; data: string };
  spectrogram: { columns: number; bands: number; top_hz: number; floor_db: number; data: string };
}

export type LiveMessage =
  | { type: "welcome"; last_event_id: number; resumed: boolean }
  | { type: "analysis"; event_id: number; analysis: Analysis }
  | { type: "deleted"; event_id: number; analysis_id: string }
  | { type: "progress"; analysis_id: string; progress: number };
