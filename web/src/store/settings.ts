/* Language and theme; remembered in the browser. src/boot.js reads the same entry before the first paint. */
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";

export type Lang = "en" | "ru";
export type ThemeChoice = "system" | "light" | "dark";

export interface Settings {
  lang: Lang | null;
  theme: ThemeChoice;
}

const ENTRY = "sonde.settings";

export function parseSettings(text: string | null): Settings {
  let data: unknown = null;
  try {
    data = JSON.parse(text ?? "null");
  } catch {
    data = null;
  }
  const found = data !== null && typeof data === "object" ? (data as Record<string, unknown>) : {};
  return {
    lang: found.lang === "en" || found.lang === "ru" ? found.lang : null,
    theme: found.theme === "light" || found.theme === "dark" ? found.theme : "system",
  };
}

export function loadSettings(): Settings {
  try {
    return parseSettings(localStorage.getItem(ENTRY));
  } catch {
    return parseSettings(null);
  }
}

export function saveSettings(settings: Settings): void {
  try {
    localStorage.setItem(ENTRY, JSON.stringify(settings));
  } catch {
    /* Storage may be switched off: then the choice lasts until the page is closed. */
  }
}

export function browserLang(language: string): Lang {
  return /^ru\b/i.test(language) ? "ru" : "en";
}

const slice = createSlice({
  name: "settings",
  initialState: { lang: null, theme: "system" } as Settings,
  reducers: {
    langChosen(state, action: PayloadAction<Lang>) {
      state.lang = action.payload;
    },
    themeChosen(state, action: PayloadAction<ThemeChoice>) {
      state.theme = action.payload;
    },
  },
});

export const { langChosen, themeChosen } = slice.actions;
export const settingsReducer = slice.reducer;
