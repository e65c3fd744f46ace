/* Says quietly when the server is away. Polling instead of the socket is no trouble to the reader and is not shown. */
import { useEffect, useRef, useState } from "react";
import { useWords } from "../i18n";
import { useAppSelector } from "../store/store";

export function Connection() {
  const { t } = useWords();
  const mode = useAppSelector((state) => state.connection.mode);
  const [back, setBack] = useState(false);
  const wasAway = useRef(false);
  useEffect(() => {
    if (mode === "offline") {
      wasAway.current = true;
      setBack(false);
      return;
    }
    if (!wasAway.current || mode === "connecting") return;
    wasAway.current = false;
    setBack(true);
    const timer = setTimeout(() => setBack(false), 4000);
    return () => clearTimeout(timer);
  }, [mode]);
  const text = mode === "offline" ? t.connection.offline : back ? t.connection.back : "";
  return (
    <div className="connection" role="status" data-testid="connection" data-mode={mode}>
      {text && <p>{text}</p>}
    </div>
  );
}
