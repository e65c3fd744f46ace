/* Between pixels, seconds and keys. */

export function timeAt(x: number, width: number, duration: number): number {
  if (!(width > 0) || !(duration > 0)) return 0;
  return Math.min(duration, Math.max(0, (x / width) * duration));
}

export function xAt(time: number, width: number, duration: number): number {
  if (!(duration > 0)) return 0;
  return Math.min(width, Math.max(0, (time / duration) * width));
}

/* Where a key moves the position to; null: not a key for this. */
export function seekKey(key: string, time: number, duration: number): number | null {
  const clamp = (value: number) => Math.min(duration, Math.max(0, value));
  const page = Math.max(5, duration / 10);
  switch (key) {
    case "ArrowLeft":
    case "ArrowDown":
      return clamp(time - 1);
    case "ArrowRight":
    case "ArrowUp":
      return clamp(time + 1);
    case "PageDown":
      return clamp(time - page);
    case "PageUp":
      return clamp(time + page);
    case "Home":
      return 0;
    case "End":
      return duration;
    default:
      return null;
  }
}

/* Round distances for the labels of a time axis: at most one per `spacing` pixels. */
export function timeStep(duration: number, width: number, spacing = 80): number {
  const least = (duration * spacing) / Math.max(1, width);
  return [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find((step) => step >= least) ?? 7200;
}
