import { File } from "node:buffer";
import { webcrypto } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { configureStore } from "@reduxjs/toolkit";
import { analysesReducer } from "../src/store/analyses";
import { connectionReducer, infoLoaded } from "../src/store/connection";
import { settingsReducer, parseSettings, browserLang } from "../src/store/settings";
import { accepted, added, canceled, dismissed, failed, pausing, sending, uploadsReducer } from "../src/store/uploads";
import { isTemporary, problemFrom, retryAfterSeconds } from "../src/api/problem";
import { readInfo } from "../src/api/info";
import * as client from "../src/api/client";
import { precheck, UploadManager } from "../src/upload/manager";
import { extension, micTrouble, recordingName } from "../src/upload/record";

/* Node 18 has it, but not as a global. */
if (!("crypto" in globalThis)) Object.assign(globalThis, { crypto: webcrypto });

const problem = problemFrom(503, { code: "queue_full", detail: "full" }, "2");
const one = (key = "k") => uploadsReducer(undefined, added([{ key, name: "a.wav", bytes: 4 }]));

describe("upload states", () => {
  it("stays cancelled when the answer comes late", () => {
    let state = uploadsReducer(one(), sending({ key: "k", sent: 0.4 }));
    state = uploadsReducer(state, canceled("k"));
    state = uploadsReducer(state, sending({ key: "k", sent: 0.9 }));
    state = uploadsReducer(state, accepted({ key: "k", answer: { analyses: [], rejected: [] } }));
    expect(state.byKey.k!.state).toBe("canceled");
  });
  it("cannot cancel what was accepted", () => {
    let state = uploadsReducer(one(), accepted({ key: "k", answer: { analyses: [{ id: "x" }] as never, rejected: [] } }));
    state = uploadsReducer(state, canceled("k"));
    expect(state.byKey.k).toMatchObject({ state: "accepted", analyses: ["x"], sent: 1 });
  });
  it("pauses only what is being sent", () => {
    expect(uploadsReducer(one(), pausing({ key: "k", problem, retryAt: 1 })).byKey.k!.state).toBe("waiting");
  });
  it("ignores news of a dismissed upload", () => {
    const state = uploadsReducer(uploadsReducer(one(), dismissed("k")), failed({ key: "k", problem }));
    expect(state).toEqual({ order: [], byKey: {} });
  });
});

describe("problems", () => {
  it("reads problem+json and Retry-After", () => {
    expect(problem).toMatchObject({ code: "queue_full", status: 503, retryAfter: 2 });
    expect(problemFrom(500, "<html>").code).toBe("http_500");
    expect(retryAfterSeconds("Sat, 21 Nov 2026 10:00:30 GMT", Date.parse("2026-11-21T10:00:00Z"))).toBe(30);
    expect(retryAfterSeconds("soon")).toBeNull();
    expect(retryAfterSeconds("")).toBeNull();
  });
  it("knows which may pass by themselves", () => {
    expect(isTemporary(problem)).toBe(true);
    expect(isTemporary(problemFrom(413, { code: "too_large" }))).toBe(false);
    expect(isTemporary(problemFrom(422, { code: "idempotency_mismatch" }))).toBe(false);
  });
  it("checks files before sending them", () => {
    expect(precheck({ size: 0 }, null)?.code).toBe("empty_file");
    expect(precheck({ size: 101 }, 100)?.code).toBe("too_large");
    expect(precheck({ size: 100 }, 100)).toBeNull();
    expect(precheck({ size: 1e12 }, null)).toBeNull();
  });
});

describe("upload manager", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
  const make = () => {
    const store = configureStore({
      reducer: { analyses: analysesReducer, uploads: uploadsReducer, connection: connectionReducer, settings: settingsReducer },
    });
    return { store, manager: new UploadManager(store as never) };
  };
  const file = (name: string, size = 3) => new File([new Uint8Array(size)], name) as unknown as globalThis.File;
  const fails = (status: number, code: string, retry?: string) =>
    Object.assign(new Error(code), { isAxiosError: true, response: { status, data: { code }, headers: { "retry-after": retry } } });

  it("retries by itself with the same key, not before Retry-After", async () => {
    const send = vi.spyOn(client, "uploadFile");
    send.mockRejectedValueOnce(fails(503, "queue_full", "9")).mockResolvedValueOnce({ analyses: [], rejected: [] });
    const { store, manager } = make();
    const [key] = manager.add([file("a.wav")]);
    await vi.advanceTimersByTimeAsync(8900);
    expect(store.getState().uploads.byKey[key!]!.state).toBe("pausing");
    expect(send).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(send).toHaveBeenCalledTimes(2);
    expect(send.mock.calls[0]![1]).toBe(key);
    expect(send.mock.calls[1]![1]).toBe(key);
    expect(store.getState().uploads.byKey[key!]!.state).toBe("accepted");
  });
  it("gives up on what will not pass, and on request sends again with the same key", async () => {
    const send = vi.spyOn(client, "uploadFile").mockRejectedValue(fails(415, "not_audio"));
    const { store, manager } = make();
    const [key] = manager.add([file("a.txt")]);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(send).toHaveBeenCalledTimes(1);
    expect(store.getState().uploads.byKey[key!]!).toMatchObject({ state: "failed", problem: { code: "not_audio" } });
    manager.retry(key!);
    await vi.advanceTimersByTimeAsync(0);
    expect(send.mock.calls.map((call) => call[1])).toEqual([key, key]);
  });
  it("sends two at a time, and never what is too large or cancelled", async () => {
    const open: (() => void)[] = [];
    const send = vi.spyOn(client, "uploadFile").mockImplementation(
      () => new Promise((resolve) => open.push(() => resolve({ analyses: [], rejected: [] }))),
    );
    const { store, manager } = make();
    store.dispatch(infoLoaded(readInfo({ limits: { upload_bytes: 5 } })));
    const keys = manager.add([file("1"), file("large", 6), file("2"), file("3"), file("4")]);
    expect(send).toHaveBeenCalledTimes(2);
    manager.cancel(keys[3]!);
    open.forEach((done) => done());
    await vi.advanceTimersByTimeAsync(0);
    expect(send.mock.calls.map((call) => call[0].name)).toEqual(["1", "2", "4"]);
    expect(store.getState().uploads.byKey[keys[1]!]!.problem?.code).toBe("too_large");
  });
});

describe("settings and info", () => {
  it("survives damaged settings", () => {
    expect(parseSettings("{")).toEqual({ lang: null, theme: "system" });
    expect(parseSettings('{"lang":"de","theme":"dark"}')).toEqual({ lang: null, theme: "dark" });
    expect(parseSettings("7")).toEqual({ lang: null, theme: "system" });
    expect(browserLang("ru-RU")).toBe("ru");
    expect(browserLang("rue")).toBe("en");
  });
  it("reads the model's rates and misses none that are zero", () => {
    const info = readInfo({
      version: "1", model: { name: "m", rates: { false_alarm: 0, miss: 0.25, eer: null } }, limits: { upload_bytes: 9 },
      retention: { audio_days: 30, result_days: null },
    });
    expect(info.model).toMatchObject({ falseAlarms: 0, misses: 0.25, eer: null });
    expect(info).toMatchObject({ maxBytes: 9, keepRecordingsDays: 30, keepResultsDays: null });
    expect(readInfo(null).version).toBeNull();
  });
});

describe("recorder", () => {
  it("names recordings by time and type", () => {
    expect(recordingName("mic", "audio/mp4", new Date(2026, 0, 2, 3, 4, 5))).toBe("mic-2026-01-02-030405.m4a");
    expect(extension("audio/webm;codecs=opus")).toBe("webm");
    expect(extension("audio/ogg")).toBe("ogg");
  });
  it("tells apart why there is no microphone", () => {
    expect(micTrouble(new DOMException("", "NotAllowedError"))).toBe("denied");
    expect(micTrouble(new DOMException("", "NotFoundError"))).toBe("none");
    expect(micTrouble(new DOMException("", "NotReadableError"))).toBe("busy");
    expect(micTrouble("?")).toBe("unsupported");
  });
});

describe("an outage", () => {
  it("is outlasted: the upload goes on with the same key when the server is back", async () => {
    vi.useFakeTimers();
    const store = configureStore({
      reducer: { analyses: analysesReducer, uploads: uploadsReducer, connection: connectionReducer, settings: settingsReducer },
    });
    const away = Object.assign(new Error("away"), { isAxiosError: true });
    const send = vi.spyOn(client, "uploadFile").mockRejectedValue(away);
    const manager = new UploadManager(store as never);
    const [key] = manager.add([new File(["abc"], "a.wav") as unknown as globalThis.File]);
    await vi.advanceTimersByTimeAsync(180_000);
    expect(store.getState().uploads.byKey[key!]!).toMatchObject({ state: "pausing", problem: { code: "network" } });
    send.mockResolvedValue({ analyses: [], rejected: [] });
    await vi.advanceTimersByTimeAsync(31_000);
    expect(store.getState().uploads.byKey[key!]!.state).toBe("accepted");
    expect(new Set(send.mock.calls.map((call) => call[1])).size).toBe(1);
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
});
