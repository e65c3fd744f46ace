/* From overlapping windows to one evidence value per column: the mean of the windows over a moment, where there is speech. */
import type { Window } from "../api/types";

/* NaN: no window with speech lies over that column. */
export function evidenceColumns(timeline: Window[], duration: number, columns: number): Float32Array {
  const sum = new Float64Array(columns + 1);
  const count = new Int32Array(columns + 1);
  for (const window of timeline) {
    if (window.llr === null || !(window.speech_s > 0)) continue;
    const from = Math.max(0, Math.min(columns - 1, Math.floor((window.start_s / duration) * columns)));
    const to = Math.max(from + 1, Math.min(columns, Math.ceil((window.end_s / duration) * columns)));
    sum[from]! += window.llr;
    sum[to]! -= window.llr;
    count[from]!++;
    count[to]!--;
  }
  const out = new Float32Array(columns);
  let total = 0;
  let over = 0;
  for (let i = 0; i < columns; i++) {
    total += sum[i]!;
    over += count[i]!;
    out[i] = over > 0 ? total / over : NaN;
  }
  return out;
}
