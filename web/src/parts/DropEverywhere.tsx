/* Makes every view a place to drop files on. */
import { useEffect, useState } from "react";
import { useNavigate } from "react-router-dom";
import { useWords } from "../i18n";
import { useUploads } from "../upload/context";
import { droppedFiles, hasFiles } from "../upload/files";

export function DropEverywhere() {
  const { t } = useWords();
  const uploads = useUploads();
  const navigate = useNavigate();
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const enter = (event: DragEvent) => {
      if (!hasFiles(event.dataTransfer)) return;
      depth++;
      setOver(true);
    };
    const leave = (event: DragEvent) => {
      if (!hasFiles(event.dataTransfer)) return;
      depth = Math.max(0, depth - 1);
      if (depth === 0) setOver(false);
    };
    const overPage = (event: DragEvent) => {
      if (hasFiles(event.dataTransfer)) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      depth = 0;
      setOver(false);
      if (!event.dataTransfer || !hasFiles(event.dataTransfer)) return;
      event.preventDefault();
      void droppedFiles(event.dataTransfer).then((files) => {
        if (files.length === 0) return;
        navigate("/", { state: { keys: uploads.add(files) } });
      });
    };
    window.addEventListener("dragenter", enter);
    window.addEventListener("dragleave", leave);
    window.addEventListener("dragover", overPage);
    window.addEventListener("drop", drop);
    return () => {
      window.removeEventListener("dragenter", enter);
      window.removeEventListener("dragleave", leave);
      window.removeEventListener("dragover", overPage);
      window.removeEventListener("drop", drop);
    };
  }, [uploads, navigate]);
  return over ? (
    <div className="drop-veil" aria-hidden="true">
      <p>{t.start.dropHere}</p>
    </div>
  ) : null;
}
