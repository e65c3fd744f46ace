/* Short notices at the bottom ("Link copied"), read out by screen readers. */
import Snackbar from "@mui/material/Snackbar";
import { createContext, useCallback, useContext, useState, type ReactNode } from "react";

const Context = createContext<(text: string) => void>(() => undefined);
export const useNotice = () => useContext(Context);

export function NoticeProvider({ children }: { children: ReactNode }) {
  const [notice, setNotice] = useState<{ text: string; at: number } | null>(null);
  const show = useCallback((text: string) => setNotice({ text, at: Date.now() }), []);
  return (
    <Context.Provider value={show}>
      {children}
      <Snackbar
        key={notice?.at}
        open={notice !== null}
        message={notice?.text}
        autoHideDuration={4000}
        onClose={(_, reason) => reason !== "clickaway" && setNotice(null)}
      />
    </Context.Provider>
  );
}
