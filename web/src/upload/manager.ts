/* Sends files, a few at a time, one request each. A file keeps its Idempotency-Key over all tries, so that a retry never
 * makes a second analysis. */
import { uploadFile } from "../api/client";
import { randomKey } from "../api/ids";
import { isTemporary, toProblem, type Problem } from "../api/problem";
import { backoffMs } from "../live/backoff";
import { accepted, added, canceled, dismissed, failed, pausing, queuedAgain, sending } from "../store/uploads";
import type { StoreLike } from "../live/live";

const PARALLEL = 2;
/* An outage may last; a server that answers but refuses is left alone sooner. */
const TRIES_REFUSED = 6;
const TRIES_AWAY = 30;

interface Job {
  file: File;
  tries: number;
  abort: AbortController | null;
  timer: ReturnType<typeof setTimeout> | null;
}

/* What is wrong with a file before it is sent; null: nothing. */
export function precheck(file: { size: number }, maxBytes: number | null): Problem | null {
  const problem = (code: string): Problem => ({ code, status: 0, detail: "", hint: "", retryAfter: null });
  if (file.size === 0) return problem("empty_file");
  if (maxBytes !== null && file.size > maxBytes) return problem("too_large");
  return null;
}

export class UploadManager {
  private jobs = new Map<string, Job>();
  private queue: string[] = [];
  private running = 0;

  constructor(private readonly store: StoreLike) {}

  /* Returns the keys of the new uploads. */
  add(files: File[]): string[] {
    const maxBytes = this.store.getState().connection.info?.maxBytes ?? null;
    const entries = files.map((file) => {
      const key = randomKey();
      const problem = precheck(file, maxBytes);
      this.jobs.set(key, { file, tries: 0, abort: null, timer: null });
      if (!problem) this.queue.push(key);
      return { key, name: file.name, bytes: file.size, problem: problem ?? undefined };
    });
    this.store.dispatch(added(entries));
    this.pump();
    return entries.map((entry) => entry.key);
  }

  cancel(key: string): void {
    const job = this.jobs.get(key);
    this.store.dispatch(canceled(key));
    this.queue = this.queue.filter((one) => one !== key);
    if (job?.timer) clearTimeout(job.timer);
    job?.abort?.abort();
  }

  retry(key: string): void {
    const job = this.jobs.get(key);
    if (!job || job.abort) return;
    if (job.timer) clearTimeout(job.timer);
    job.timer = null;
    this.store.dispatch(queuedAgain(key));
    if (!this.queue.includes(key)) this.queue.push(key);
    this.pump();
  }

  dismiss(key: string): void {
    this.jobs.delete(key);
    this.store.dispatch(dismissed(key));
  }

  private pump(): void {
    while (this.running < PARALLEL) {
      const key = this.queue.shift();
      if (key === undefined) return;
      const job = this.jobs.get(key);
      if (job) void this.send(key, job);
    }
  }

  private async send(key: string, job: Job): Promise<void> {
    this.running++;
    job.abort = new AbortController();
    const { dispatch } = this.store;
    dispatch(sending({ key, sent: 0 }));
    try {
      const answer = await uploadFile(job.file, key, job.abort.signal, (sent, total) =>
        dispatch(sending({ key, sent: total > 0 ? sent / total : 0 })),
      );
      dispatch(accepted({ key, answer }));
    } catch (error) {
      this.trouble(key, job, toProblem(error));
    } finally {
      job.abort = null;
      this.running--;
      this.pump();
    }
  }

  private trouble(key: string, job: Job, problem: Problem): void {
    const { dispatch } = this.store;
    if (problem.code === "canceled") return;
    const most = problem.code === "network" ? TRIES_AWAY : TRIES_REFUSED;
    if (!isTemporary(problem) || ++job.tries >= most) {
      job.tries = 0;
      dispatch(failed({ key, problem }));
      return;
    }
    const wait = Math.max((problem.retryAfter ?? 0) * 1000, backoffMs(job.tries, Math.random, 1000));
    dispatch(pausing({ key, problem, retryAt: Date.now() + wait }));
    job.timer = setTimeout(() => this.retry(key), wait);
  }
}
