/* Paints the waveform, the evidence trace and the spectrogram. Each paints a whole canvas once; nothing here moves. */
import { css, evidenceColour, spectrumScale } from "./colour";
import type { Drawing } from "./decode";
import { timeStep } from "./seek";
import type { Part } from "../api/types";

export interface Ink {
  dark: boolean;
  line: string;
  faint: string;
  text: string;
}

/* Sizes the canvas for the screen's pixels, of which it has `columns`; the context then counts CSS pixels. */
export function prepare(canvas: HTMLCanvasElement): { g: CanvasRenderingContext2D; w: number; h: number; columns: number } | null {
  const w = canvas.clientWidth;
  const h = canvas.clientHeight;
  const g = canvas.getContext("2d");
  if (!g || w === 0 || h === 0) return null;
  const scale = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.round(w * scale);
  canvas.height = Math.round(h * scale);
  g.setTransform(canvas.width / w, 0, 0, canvas.height / h, 0, 0);
  g.clearRect(0, 0, w, h);
  return { g, w, h, columns: canvas.width };
}

export function paintWave(canvas: HTMLCanvasElement, drawing: Drawing | null, evidence: Float32Array, threshold: number,
                          parts: Part[], duration: number, ink: Ink): void {
  const area = prepare(canvas);
  if (!area) return;
  const { g, w, h, columns } = area;
  const column = w / columns;
  for (const part of parts) {
    const x = (part.start_s / duration) * w;
    const width = Math.max(2, ((part.end_s - part.start_s) / duration) * w);
    hatch(g, x, width, h, ink);
  }
  const middle = h / 2;
  const room = h / 2 - 6;
  for (let x = 0; x < columns; x++) {
    const at = Math.min(evidence.length - 1, Math.floor((x / columns) * evidence.length));
    let low = 0;
    let high = 0;
    if (drawing && drawing.columns > 0) {
      const from = Math.floor((x / columns) * drawing.columns);
      const to = Math.max(from + 1, Math.floor(((x + 1) / columns) * drawing.columns));
      for (let c = from; c < to && c < drawing.columns; c++) {
        low = Math.min(low, drawing.peaks[2 * c]!);
        high = Math.max(high, drawing.peaks[2 * c + 1]!);
      }
    }
    g.fillStyle = css(evidenceColour(evidence[at] ?? NaN, threshold, ink.dark));
    const top = middle - (high / 127) * room;
    const bottom = middle - (low / 127) * room;
    g.fillRect(x * column, top, column, Math.max(1, bottom - top));
  }
}

/* The synthetic parts carry a pattern too: they show without colour. */
function hatch(g: CanvasRenderingContext2D, x: number, width: number, h: number, ink: Ink): void {
  g.save();
  g.beginPath();
  g.rect(x, 0, width, h);
  g.clip();
  g.strokeStyle = ink.faint;
  g.lineWidth = 1;
  g.beginPath();
  for (let d = Math.floor((x - h) / 7) * 7; d < x + width; d += 7) {
    g.moveTo(d, h);
    g.lineTo(d + h, 0);
  }
  g.stroke();
  g.restore();
  g.fillStyle = css(evidenceColour(9, 0, ink.dark));
  g.fillRect(x, 0, width, 3);
  g.fillRect(x, h - 3, width, 3);
}

/* LLR over time around the threshold line, up to 3 to either side. */
export function paintTrace(canvas: HTMLCanvasElement, evidence: Float32Array, threshold: number, ink: Ink): void {
  const area = prepare(canvas);
  if (!area) return;
  const { g, w, h, columns } = area;
  const column = w / columns;
  const middle = Math.round(h / 2);
  const y = (llr: number) => middle - (Math.max(-3, Math.min(3, llr - threshold)) / 3) * (h / 2 - 3);
  for (let x = 0; x < columns; x++) {
    const llr = evidence[Math.min(evidence.length - 1, Math.floor((x / columns) * evidence.length))] ?? NaN;
    if (Number.isNaN(llr)) continue;
    g.fillStyle = css(evidenceColour(llr, threshold, ink.dark));
    const top = Math.min(y(llr), middle);
    g.fillRect(x * column, top, column, Math.max(1, Math.abs(y(llr) - middle)));
  }
  g.fillStyle = ink.line;
  g.fillRect(0, middle, w, 1);
}

export function paintSpectrum(canvas: HTMLCanvasElement, drawing: Drawing, dark: boolean): void {
  const area = prepare(canvas);
  if (!area || drawing.spectrumColumns === 0 || drawing.bands === 0) return;
  const { g, w, h } = area;
  const { spectrumColumns: columns, bands, spectrum } = drawing;
  const scale = spectrumScale(dark);
  const image = new ImageData(columns, bands);
  for (let c = 0; c < columns; c++) {
    for (let b = 0; b < bands; b++) {
      const value = spectrum[c * bands + b]! * 3;
      const at = ((bands - 1 - b) * columns + c) * 4;
      image.data[at] = scale[value]!;
      image.data[at + 1] = scale[value + 1]!;
      image.data[at + 2] = scale[value + 2]!;
      image.data[at + 3] = 255;
    }
  }
  const small = document.createElement("canvas");
  small.width = columns;
  small.height = bands;
  small.getContext("2d")?.putImageData(image, 0, 0);
  g.imageSmoothingEnabled = true;
  g.imageSmoothingQuality = "high";
  g.drawImage(small, 0, 0, w, h);
}

/* Times for the labels below the drawings. */
export function axisTimes(duration: number, width: number): number[] {
  if (!(duration > 0)) return [];
  const step = timeStep(duration, width);
  const times: number[] = [];
  for (let time = 0; time <= duration - step * 0.35; time += step) times.push(time);
  return times;
}
