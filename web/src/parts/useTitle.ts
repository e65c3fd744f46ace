/* The document's title follows the view. */
import { useEffect } from "react";

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title === "sonde" ? title : `${title} – sonde`;
  }, [title]);
}
