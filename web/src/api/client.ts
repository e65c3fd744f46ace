/* Every request of the page, one function each. */
import axios, { type AxiosProgressEvent } from "axios";
import { readInfo, type Info } from "./info";
import type { Analysis, Page, Picture, Status, UploadAnswer, Verdict } from "./types";

const http = axios.create({ timeout: 30_000, headers: { Accept: "application/json" } });

export interface ListQuery {
  q?: string;
  verdict?: Verdict | "";
  status?: Status | "";
  limit?: number;
  cursor?: string;
}

export interface ShortStatus {
  id: string;
  status: Status;
  progress: number | null;
  probability: number | null;
  verdict: Verdict | null;
}

const at = (id: string) => `/api/v1/analyses/${encodeURIComponent(id)}`;

function params(query: ListQuery): Record<string, string | number> {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== "" && value !== undefined)) as Record<
    string,
    string | number
  >;
}

export async function getInfo(): Promise<Info> {
  return readInfo((await http.get("/api/v1/info")).data);
}

export async function listAnalyses(query: ListQuery, signal?: AbortSignal): Promise<Page> {
  return (await http.get<Page>("/api/v1/analyses", { params: params(query), signal })).data;
}

export function exportLink(query: ListQuery): string {
  const search = new URLSearchParams({ format: "csv" });
  for (const [key, value] of Object.entries(params(query))) search.set(key, String(value));
  return `/api/v1/analyses?${search}`;
}

export async function getAnalysis(id: string, signal?: AbortSignal): Promise<Analysis> {
  return (await http.get<Analysis>(at(id), { signal })).data;
}

export async function getStatus(id: string): Promise<ShortStatus> {
  return (await http.get<ShortStatus>("/status", { params: { id } })).data;
}

export async function deleteAnalysis(id: string): Promise<void> {
  await http.delete(at(id));
}

export async function rerunAnalysis(id: string): Promise<Analysis> {
  return (await http.post<Analysis>(`${at(id)}/rerun`)).data;
}

export async function askStability(id: string): Promise<void> {
  await http.post(`${at(id)}/stability`);
}

export async function getPicture(link: string, signal?: AbortSignal): Promise<Picture> {
  return (await http.get<Picture>(link, { signal, timeout: 120_000 })).data;
}

export async function getTicket(): Promise<string> {
  return (await http.post<{ ticket: string }>("/api/v1/events/tickets", undefined, { timeout: 10_000 })).data.ticket;
}

export async function uploadFile(
  file: File,
  key: string,
  signal: AbortSignal,
  onProgress: (sent: number, total: number) => void,
): Promise<UploadAnswer> {
  const form = new FormData();
  form.append("file", file, file.name);
  const answer = await http.post<UploadAnswer>("/api/v1/uploads", form, {
    signal,
    timeout: 0,
    headers: { "Idempotency-Key": key },
    onUploadProgress: (event: AxiosProgressEvent) => onProgress(event.loaded, event.total ?? file.size),
  });
  return { analyses: answer.data.analyses ?? [], rejected: answer.data.rejected ?? [] };
}
