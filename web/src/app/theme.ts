/* Material UI in sonde's own dress: its colours, its type, no ripples and no shadows. */
import { createTheme, type Theme } from "@mui/material/styles";

export function makeTheme(dark: boolean): Theme {
  const ink = dark ? "#f1f0ec" : "#16191d";
  const paper = dark ? "#1d2024" : "#ffffff";
  const accent = dark ? "#9db4ff" : "#2b46c0";
  return createTheme({
    palette: {
      mode: dark ? "dark" : "light",
      primary: { main: ink, contrastText: dark ? "#16191d" : "#ffffff" },
      secondary: { main: accent },
      background: { default: dark ? "#141619" : "#f7f6f3", paper },
      text: { primary: ink, secondary: dark ? "#a9adb3" : "#5b6169" },
      divider: dark ? "#33373d" : "#dddad2",
      error: { main: dark ? "#f0a0b4" : "#9c2747" },
    },
    shape: { borderRadius: 8 },
    typography: { fontFamily: "inherit", button: { textTransform: "none", fontWeight: 550, letterSpacing: 0 } },
    components: {
      MuiButtonBase: { defaultProps: { disableRipple: true } },
      MuiButton: {
        defaultProps: { disableElevation: true },
        styleOverrides: {
          root: { minHeight: 40, paddingInline: 16, whiteSpace: "nowrap" },
          sizeSmall: { minHeight: 32, paddingInline: 10 },
          outlined: { borderColor: dark ? "#4a4f57" : "#bfbbb1" },
        },
      },
      MuiPaper: { styleOverrides: { root: { backgroundImage: "none" } } },
      MuiLinearProgress: { styleOverrides: { root: { height: 4, borderRadius: 2 }, bar: { borderRadius: 2 } } },
      MuiDialog: { styleOverrides: { paper: { border: `1px solid ${dark ? "#33373d" : "#dddad2"}` } } },
    },
  });
}
