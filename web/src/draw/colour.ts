/* Colours of measured values. Both scales are even in lightness (OKLab), so equal steps look equal, also without colour. */

export type Rgb = [number, number, number];

/* OKLab to sRGB 0..255, clipped. */
export function oklab(l: number, a: number, b: number): Rgb {
  const l3 = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m3 = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s3 = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3,
    -1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3,
    -0.0041960863 * l3 - 0.7034186147 * m3 + 1.707614701 * s3,
  ];
  return linear.map((v) => {
    const c = Math.min(1, Math.max(0, v));
    return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
  }) as Rgb;
}

function oklch(l: number, c: number, hueDegrees: number): Rgb {
  const h = (hueDegrees * Math.PI) / 180;
  return oklab(l, c * Math.cos(h), c * Math.sin(h));
}

export const HUMAN_HUE = 235;
export const SYNTHETIC_HUE = 55;
const FULL_AT = 2.5;

/* -1 (surely human) … 0 (at the threshold) … 1 (surely synthetic). */
export function lean(llr: number, threshold: number): number {
  return Math.min(1, Math.max(-1, (llr - threshold) / FULL_AT));
}

/* Blue for human, ochre for synthetic, grey between: told apart by every common kind of colour vision. */
export function evidenceColour(llr: number, threshold: number, dark: boolean): Rgb {
  if (Number.isNaN(llr)) return dark ? oklab(0.42, 0, 0) : oklab(0.84, 0, 0);
  const x = lean(llr, threshold);
  const strength = Math.abs(x) ** 0.6;
  const l = dark ? 0.6 + 0.16 * strength : 0.72 - 0.2 * strength;
  return oklch(l, 0.02 + 0.115 * strength, x < 0 ? HUMAN_HUE : SYNTHETIC_HUE);
}

/* 256 colours from silence to full level: from the paper over plum to ink, lightness even; no hue of the evidence. */
export function spectrumScale(dark: boolean): Uint8Array {
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const x = i / 255;
    const l = dark ? 0.17 + 0.78 * x : 0.97 - 0.79 * x;
    const rgb = oklch(l, 0.09 * Math.sin(Math.PI * x) ** 1.2, dark ? 330 - 30 * x : 300 + 30 * x);
    table.set(rgb, i * 3);
  }
  return table;
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r},${g},${b})`;
}
