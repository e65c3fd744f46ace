/* How the page learns of news: over the socket, by asking, or not at all for now. */
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import type { Info } from "../api/info";

export type Mode = "connecting" | "live" | "polling" | "offline";

interface State {
  mode: Mode;
  info: Info | null;
}

const initialState: State = { mode: "connecting", info: null };

const slice = createSlice({
  name: "connection",
  initialState,
  reducers: {
    modeChanged(state, action: PayloadAction<Mode>) {
      state.mode = action.payload;
    },
    infoLoaded(state, action: PayloadAction<Info>) {
      state.info = action.payload;
    },
  },
});

export const { modeChanged, infoLoaded } = slice.actions;
export const connectionReducer = slice.reducer;
