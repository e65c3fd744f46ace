/* The files on their way to the server. The files themselves stay with the upload manager: a store holds plain data. */
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import type { Problem } from "../api/problem";
import type { UploadAnswer } from "../api/types";

export type UploadState = "waiting" | "sending" | "pausing" | "accepted" | "failed" | "canceled";

export interface Upload {
  key: string;
  name: string;
  bytes: number;
  state: UploadState;
  sent: number;
  problem: Problem | null;
  /* When a pausing upload is tried again, in ms since 1970. */
  retryAt: number | null;
  analyses: string[];
  rejected: UploadAnswer["rejected"];
}

interface State {
  order: string[];
  byKey: Record<string, Upload>;
}

const initialState: State = { order: [], byKey: {} };

const slice = createSlice({
  name: "uploads",
  initialState,
  reducers: {
    added(state, action: PayloadAction<{ key: string; name: string; bytes: number; problem?: Problem }[]>) {
      for (const { key, name, bytes, problem } of action.payload) {
        state.order.push(key);
        state.byKey[key] = {
          key, name, bytes, state: problem ? "failed" : "waiting", sent: 0, problem: problem ?? null, retryAt: null,
          analyses: [], rejected: [],
        };
      }
    },
    sending(state, action: PayloadAction<{ key: string; sent: number }>) {
      const upload = state.byKey[action.payload.key];
      if (!upload || upload.state === "accepted" || upload.state === "canceled") return;
      upload.state = "sending";
      upload.sent = Math.min(1, Math.max(0, action.payload.sent));
      upload.problem = null;
      upload.retryAt = null;
    },
    pausing(state, action: PayloadAction<{ key: string; problem: Problem; retryAt: number }>) {
      const upload = state.byKey[action.payload.key];
      if (!upload || upload.state !== "sending") return;
      upload.state = "pausing";
      upload.problem = action.payload.problem;
      upload.retryAt = action.payload.retryAt;
    },
    accepted(state, action: PayloadAction<{ key: string; answer: UploadAnswer }>) {
      const upload = state.byKey[action.payload.key];
      if (!upload || upload.state === "canceled") return;
      upload.state = "accepted";
      upload.sent = 1;
      upload.analyses = action.payload.answer.analyses.map((analysis) => analysis.id);
      upload.rejected = action.payload.answer.rejected;
    },
    failed(state, action: PayloadAction<{ key: string; problem: Problem }>) {
      const upload = state.byKey[action.payload.key];
      if (!upload || upload.state === "canceled") return;
      upload.state = "failed";
      upload.problem = action.payload.problem;
    },
    canceled(state, action: PayloadAction<string>) {
      const upload = state.byKey[action.payload];
      if (upload && upload.state !== "accepted") upload.state = "canceled";
    },
    queuedAgain(state, action: PayloadAction<string>) {
      const upload = state.byKey[action.payload];
      if (!upload || (upload.state !== "failed" && upload.state !== "canceled" && upload.state !== "pausing")) return;
      upload.state = "waiting";
      upload.problem = null;
      upload.retryAt = null;
      upload.sent = 0;
    },
    dismissed(state, action: PayloadAction<string>) {
      delete state.byKey[action.payload];
      state.order = state.order.filter((key) => key !== action.payload);
    },
  },
});

export const { added, sending, pausing, accepted, failed, canceled, queuedAgain, dismissed } = slice.actions;
export const uploadsReducer = slice.reducer;
