import { describe, expect, it } from "vitest";
import { decodeBase64, decodePicture } from "../src/draw/decode";
import { evidenceColour, lean, oklab, spectrumScale } from "../src/draw/colour";
import { evidenceColumns } from "../src/draw/evidence";
import { axisTimes } from "../src/draw/paint";
import { seekKey, timeAt, timeStep, xAt } from "../src/draw/seek";
import { backoffMs } from "../src/live/backoff";
import { scalePosition } from "../src/parts/LlrScale";

const win = (start_s: number, end_s: number, llr: number | null, speech_s = 1) => ({ start_s, end_s, llr, speech_s, p_synthetic: null });

describe("picture", () => {
  it("decodes signed peaks and unsigned levels", () => {
    const data = (bytes: number[]) => Buffer.from(bytes).toString("base64");
    const drawing = decodePicture({
      duration_s: 1, peaks: { columns: 2, data: data([0x81, 0x7f, 0xff, 0x00]) },
      spectrogram: { columns: 1, bands: 2, top_hz: 8000, floor_db: -80, data: data([0, 255]) },
    });
    expect(Array.from(drawing.peaks)).toEqual([-127, 127, -1, 0]);
    expect(Array.from(drawing.spectrum)).toEqual([0, 255]);
  });
  it("fills what is missing with zeros, and survives nonsense", () => {
    expect(decodeBase64("%%%").length).toBe(0);
    const drawing = decodePicture({
      duration_s: 1, peaks: { columns: 3, data: "/w==" },
      spectrogram: { columns: 1, bands: 1, top_hz: 8000, floor_db: -80, data: "AQID" },
    });
    expect(Array.from(drawing.peaks)).toEqual([-1, 0, 0, 0, 0, 0]);
    expect(Array.from(drawing.spectrum)).toEqual([1]);
  });
});

describe("evidence", () => {
  it("is the mean of overlapping windows, and nothing where there is no speech", () => {
    const columns = evidenceColumns([win(0, 4, 1), win(2, 6, 3), win(6, 8, 9, 0), win(6, 8, null)], 8, 8);
    expect(Array.from(columns)).toEqual([1, 1, 2, 2, 3, 3, NaN, NaN]);
  });
  it("leaves no drift over an hour of windows", () => {
    const timeline = Array.from({ length: 1800 }, (_, i) => win(i * 2, i * 2 + 4, i % 2 ? -1.7 : 2.3));
    const columns = evidenceColumns(timeline, 3602, 1801);
    expect(columns[900]).toBeCloseTo(0.3, 3);
    expect(columns[1800]).toBeCloseTo(-1.7, 3);
  });
});

describe("colours", () => {
  const lightness = ([r, g, b]: number[]) => 0.2126 * (r! / 255) ** 2.2 + 0.7152 * (g! / 255) ** 2.2 + 0.0722 * (b! / 255) ** 2.2;
  it("converts OKLab", () => {
    expect(oklab(1, 0, 0)).toEqual([255, 255, 255]);
    expect(oklab(0, 0, 0)).toEqual([0, 0, 0]);
    expect(oklab(0.627955, 0.224863, 0.125846)).toEqual([255, 0, 0]);
  });
  it("turns at the threshold: blue below, ochre above, grey without speech", () => {
    for (const dark of [false, true]) {
      const [hr, , hb] = evidenceColour(-2, -0.07, dark);
      const [sr, , sb] = evidenceColour(2, -0.07, dark);
      expect(hb).toBeGreaterThan(hr);
      expect(sr).toBeGreaterThan(sb);
      const [r, g, b] = evidenceColour(NaN, 0, dark);
      expect(r === g && g === b).toBe(true);
    }
    expect(lean(-0.07, -0.07)).toBe(0);
    expect(lean(99, 0)).toBe(1);
  });
  it("keeps the spectrogram's lightness strictly in order", () => {
    for (const dark of [false, true]) {
      const scale = spectrumScale(dark);
      const step = 5;
      for (let i = step; i < 256; i += step) {
        const difference = lightness([...scale.slice(i * 3, i * 3 + 3)]) - lightness([...scale.slice((i - step) * 3, (i - step) * 3 + 3)]);
        expect(dark ? difference : -difference, `${dark} ${i}`).toBeGreaterThan(0);
      }
    }
  });
});

describe("seeking", () => {
  it("maps pixels to seconds and back, within the recording", () => {
    expect(timeAt(50, 200, 60)).toBe(15);
    expect(timeAt(-5, 200, 60)).toBe(0);
    expect(timeAt(900, 200, 60)).toBe(60);
    expect(timeAt(10, 0, 60)).toBe(0);
    expect(xAt(15, 200, 60)).toBe(50);
    expect(xAt(5, 200, 0)).toBe(0);
  });
  it("moves by keys", () => {
    expect(seekKey("ArrowRight", 3, 10)).toBe(4);
    expect(seekKey("ArrowLeft", 0.4, 10)).toBe(0);
    expect(seekKey("PageUp", 0, 3600)).toBe(360);
    expect(seekKey("End", 0, 10)).toBe(10);
    expect(seekKey("Tab", 0, 10)).toBeNull();
  });
  it("labels times without crowding", () => {
    expect(timeStep(8, 1200)).toBe(1);
    expect(timeStep(3600, 320)).toBe(900);
    for (const [duration, width] of [[3600, 320], [0.4, 300], [61, 900]] as const) {
      const times = axisTimes(duration, width);
      expect(times[0]).toBe(0);
      expect(times.length).toBeLessThanOrEqual(Math.ceil(width / 80) + 1);
      expect(times.every((time) => time <= duration)).toBe(true);
    }
    expect(axisTimes(0, 300)).toEqual([]);
  });
  it("keeps the LLR scale's marker on the scale", () => {
    expect([-99, -5, 0, 5, 99].map(scalePosition)).toEqual([0, 0, 0.5, 1, 1]);
  });
});

describe("backoff", () => {
  it("doubles, is capped, and jitters downward by at most half", () => {
    expect([0, 1, 2, 3].map((n) => backoffMs(n, () => 1))).toEqual([500, 1000, 2000, 4000]);
    expect(backoffMs(50, () => 1)).toBe(30_000);
    expect(backoffMs(3, () => 0)).toBe(2000);
  });
});
