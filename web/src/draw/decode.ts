/* Base64 of the picture's peaks and spectrogram into numbers. Short or damaged data gives zeros, never an exception. */
import type { Picture } from "../api/types";

export function decodeBase64(text: string): Uint8Array {
  let raw: string;
  try {
    raw = atob(text);
  } catch {
    return new Uint8Array(0);
  }
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

function exactly(data: Uint8Array, length: number): Uint8Array {
  if (data.length === length) return data;
  const out = new Uint8Array(length);
  out.set(data.subarray(0, length));
  return out;
}

export interface Drawing {
  duration: number;
  columns: number;
  /* min, max per column, -127..127 */
  peaks: Int8Array;
  spectrumColumns: number;
  bands: number;
  topHz: number;
  floorDb: number;
  /* column after column, lowest band first, 0..255 */
  spectrum: Uint8Array;
}

export function decodePicture(picture: Picture): Drawing {
  const { peaks, spectrogram } = picture;
  return {
    duration: picture.duration_s,
    columns: peaks.columns,
    peaks: new Int8Array(exactly(decodeBase64(peaks.data), peaks.columns * 2).buffer),
    spectrumColumns: spectrogram.columns,
    bands: spectrogram.bands,
    topHz: spectrogram.top_hz,
    floorDb: spectrogram.floor_db,
    spectrum: exactly(decodeBase64(spectrogram.data), spectrogram.columns * spectrogram.bands),
  };
}
