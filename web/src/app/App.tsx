/* Theme, frame and routes. Views other than the start page are loaded when they are first opened. */
import { ThemeProvider } from "@mui/material/styles";
import useMediaQuery from "@mui/material/useMediaQuery";
import { lazy, Suspense, useEffect, useMemo } from "react";
import { Route, Routes } from "react-router-dom";
import { useLang } from "../i18n";
import { Frame } from "../parts/Frame";
import { Loading } from "../parts/Loading";
import { useAppSelector } from "../store/store";
import { Start } from "../views/Start";
import { Guard } from "./Guard";
import { NoticeProvider } from "../parts/Notice";
import { makeTheme } from "./theme";

const Result = lazy(() => import("../views/Result"));
const History = lazy(() => import("../views/History"));
const About = lazy(() => import("../views/About"));
const Missing = lazy(() => import("../views/Missing"));

export function App() {
  const choice = useAppSelector((state) => state.settings.theme);
  const systemDark = useMediaQuery("(prefers-color-scheme: dark)", { noSsr: true });
  const dark = choice === "dark" || (choice === "system" && systemDark);
  const theme = useMemo(() => makeTheme(dark), [dark]);
  const lang = useLang();
  useEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  useEffect(() => {
    document.documentElement.lang = lang;
  }, [lang]);
  return (
    <ThemeProvider theme={theme}>
      <NoticeProvider>
        <Frame>
          <Guard>
            <Suspense fallback={<Loading />}>
              <Routes>
                <Route path="/" element={<Start />} />
                <Route path="/a/:id" element={<Result />} />
                <Route path="/history" element={<History />} />
                <Route path="/about" element={<About />} />
                <Route path="*" element={<Missing />} />
              </Routes>
            </Suspense>
          </Guard>
        </Frame>
      </NoticeProvider>
    </ThemeProvider>
  );
}
