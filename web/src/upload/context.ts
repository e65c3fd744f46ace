/* Hands the one upload manager to the views. */
import { createContext, useContext } from "react";
import type { UploadManager } from "./manager";

export const UploadsContext = createContext<UploadManager | null>(null);

export function useUploads(): UploadManager {
  const manager = useContext(UploadsContext);
  if (!manager) throw new Error("no upload manager");
  return manager;
}
