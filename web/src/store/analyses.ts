/* Every analysis that the page knows of, by id, newest first; and which ones are gone. */
import { createEntityAdapter, createSlice, type PayloadAction } from "@reduxjs/toolkit";
import type { Analysis } from "../api/types";
import type { ShortStatus } from "../api/client";
import { mergeAnalysis, mergeProgress, type Known } from "./merge";

const adapter = createEntityAdapter<Known>({
  sortComparer: (a, b) => b.created_at.localeCompare(a.created_at) || b.id.localeCompare(a.id),
});

interface Extra {
  gone: Record<string, true>;
  /* Set once the first list arrived. */
  loaded: boolean;
}

const slice = createSlice({
  name: "analyses",
  initialState: adapter.getInitialState<Extra>({ gone: {}, loaded: false }),
  reducers: {
    received(state, action: PayloadAction<{ items: Analysis[]; eventId?: number }>) {
      for (const item of action.payload.items) {
        if (state.gone[item.id]) continue;
        adapter.setOne(state, mergeAnalysis(state.entities[item.id], item, action.payload.eventId));
      }
    },
    listLoaded(state) {
      state.loaded = true;
    },
    progressed(state, action: PayloadAction<{ id: string; progress: number }>) {
      const old = state.entities[action.payload.id];
      if (old) state.entities[old.id] = mergeProgress(old, action.payload.progress);
    },
    polled(state, action: PayloadAction<ShortStatus>) {
      const { id, status, progress, probability, verdict } = action.payload;
      const old = state.entities[id];
      if (old) state.entities[id] = mergeAnalysis(old, { ...old, status, progress, probability, verdict });
    },
    stabilityAsked(state, action: PayloadAction<string>) {
      const old = state.entities[action.payload];
      if (old && !old.stability) old.stability = { status: "queued", rows: [], spread: null, flips: null };
    },
    removed(state, action: PayloadAction<string>) {
      state.gone[action.payload] = true;
      adapter.removeOne(state, action.payload);
    },
  },
});

export const { received, listLoaded, progressed, polled, stabilityAsked, removed } = slice.actions;
export const analysesReducer = slice.reducer;
export type AnalysesState = ReturnType<typeof slice.reducer>;
export const analysesSelectors = adapter.getSelectors();
