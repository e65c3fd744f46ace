/* The store, and the typed hooks to it. */
import { configureStore } from "@reduxjs/toolkit";
import { useDispatch, useSelector } from "react-redux";
import { analysesReducer, analysesSelectors } from "./analyses";
import { connectionReducer } from "./connection";
import { loadSettings, saveSettings, settingsReducer } from "./settings";
import { uploadsReducer } from "./uploads";

export const store = configureStore({
  reducer: { analyses: analysesReducer, uploads: uploadsReducer, connection: connectionReducer, settings: settingsReducer },
  preloadedState: { settings: loadSettings() },
});

let saved = store.getState().settings;
store.subscribe(() => {
  const { settings } = store.getState();
  if (settings !== saved) {
    saved = settings;
    saveSettings(settings);
  }
});

export type RootState = ReturnType<typeof store.getState>;
export type AppDispatch = typeof store.dispatch;
export const useAppDispatch = useDispatch.withTypes<AppDispatch>();
export const useAppSelector = useSelector.withTypes<RootState>();

export const selectAnalysis = (state: RootState, id: string) => analysesSelectors.selectById(state.analyses, id);
