import { describe, expect, it } from "vitest";
import type { Analysis } from "../src/api/types";
import { analysesReducer, analysesSelectors, polled, progressed, received, removed, stabilityAsked } from "../src/store/analyses";
import { mergeAnalysis } from "../src/store/merge";
import { handleMessage } from "../src/live/live";

const analysis = (over: Partial<Analysis> = {}): Analysis => ({
  id: "a1", status: "queued", progress: null, probability: null, verdict: null, llr: null, duration_s: null, speech_s: null,
  file: { name: "a.wav", bytes: 10, sha256: null, kept: true }, created_at: "2026-11-21T10:00:00.000Z", started_at: null, finished_at: null,
  model: null, reused_from: null, error: null,
  links: { self: "", status: "", result: "", audio: "", picture: "", page: "/a/a1" }, ...over,
});
const start = analysesReducer(undefined, { type: "init" });
const result = { verdict: "human" } as Analysis["result"];

describe("events", () => {
  it("drops an event that a newer one overtook", () => {
    let state = analysesReducer(start, received({ items: [analysis({ status: "running" })], eventId: 8 }));
    state = analysesReducer(state, received({ items: [analysis({ status: "queued" })], eventId: 7 }));
    expect(state.entities.a1!.status).toBe("running");
  });
  it("lets a newer event put a running one back into the queue, as after a crash", () => {
    let state = analysesReducer(start, received({ items: [analysis({ status: "running", progress: 0.5 })], eventId: 8 }));
    state = analysesReducer(state, received({ items: [analysis()], eventId: 9 }));
    expect(state.entities.a1).toMatchObject({ status: "queued", progress: null });
  });
  it("never takes a finished one back for a late answer", () => {
    let state = analysesReducer(start, received({ items: [analysis({ status: "done", verdict: "human" })], eventId: 8 }));
    state = analysesReducer(state, received({ items: [analysis({ status: "running" })] }));
    state = analysesReducer(state, progressed({ id: "a1", progress: 0.9 }));
    expect(state.entities.a1).toMatchObject({ status: "done", verdict: "human", progress: null });
  });
  it("does not bring a deleted one back", () => {
    let state = analysesReducer(start, received({ items: [analysis()], eventId: 1 }));
    state = analysesReducer(state, removed("a1"));
    state = analysesReducer(state, received({ items: [analysis({ status: "done" })], eventId: 5 }));
    expect(state.ids).toEqual([]);
  });
  it("keeps the result when a list without it arrives", () => {
    const known = mergeAnalysis(undefined, analysis({ status: "done", result }));
    expect(mergeAnalysis(known, analysis({ status: "done" }), 4).result).toBe(result);
    expect(mergeAnalysis(known, analysis({ status: "done", result: null })).result).toBe(result);
  });
  it("keeps a finished stability against an older answer", () => {
    const done = { status: "done" as const, rows: [], spread: 1, flips: 0 };
    const known = mergeAnalysis(undefined, analysis({ status: "done", stability: done }));
    const late = { ...done, status: "queued" as const, spread: null };
    expect(mergeAnalysis(known, analysis({ status: "done", stability: late })).stability).toBe(done);
  });
  it("lets progress only grow, and makes a queued one running", () => {
    let state = analysesReducer(start, received({ items: [analysis()] }));
    state = analysesReducer(state, progressed({ id: "a1", progress: 0.5 }));
    state = analysesReducer(state, progressed({ id: "a1", progress: 0.3 }));
    expect(state.entities.a1).toMatchObject({ status: "running", progress: 0.5 });
    state = analysesReducer(state, progressed({ id: "other", progress: 0.3 }));
    expect(state.ids).toEqual(["a1"]);
  });
  it("takes a polled status without losing the rest", () => {
    let state = analysesReducer(start, received({ items: [analysis()] }));
    state = analysesReducer(state, polled({ id: "a1", status: "running", progress: 0.2, probability: null, verdict: null }));
    expect(state.entities.a1).toMatchObject({ status: "running", progress: 0.2, file: { name: "a.wav" } });
  });
  it("sorts newest first, equal times by id", () => {
    const items = [analysis(), analysis({ id: "a3" }), analysis({ id: "b", created_at: "2026-11-21T11:00:00.000Z" })];
    const state = analysesReducer(start, received({ items }));
    expect(analysesSelectors.selectIds(state)).toEqual(["b", "a3", "a1"]);
  });
  it("asks for stability only once", () => {
    let state = analysesReducer(start, received({ items: [analysis({ stability: { status: "done", rows: [], spread: 2, flips: 1 } })] }));
    state = analysesReducer(state, stabilityAsked("a1"));
    expect(state.entities.a1!.stability!.status).toBe("done");
  });
  it("ignores messages of a kind it does not know", () => {
    const sent: unknown[] = [];
    handleMessage({ type: "later" } as never, ((action: unknown) => sent.push(action)) as never);
    handleMessage({ type: "deleted", event_id: 3, analysis_id: "a1" }, ((action: unknown) => sent.push(action)) as never);
    expect(sent).toEqual([removed("a1")]);
  });
});
