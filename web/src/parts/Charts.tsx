/* The three drawings and the cursor over them. They are painted once per size and theme; playing moves only the cursor,
 * past React, so that an hour of windows stays smooth. */
import { useEffect, useRef, useState, type KeyboardEvent, type MutableRefObject, type PointerEvent } from "react";
import type { Part } from "../api/types";
import type { Drawing } from "../draw/decode";
import { axisTimes, paintSpectrum, paintTrace, paintWave, type Ink } from "../draw/paint";
import { seekKey, timeAt, xAt } from "../draw/seek";
import { usePrinting } from "./usePrinting";
import { useTheme } from "@mui/material/styles";
import { useWords } from "../i18n";
import { clock } from "../i18n/format";

interface Props {
  drawing: Drawing | null;
  evidence: Float32Array;
  threshold: number;
  parts: Part[];
  duration: number;
  wantsTrace: boolean;
  wantsPicture: boolean;
  position: MutableRefObject<number>;
  moved: MutableRefObject<(time: number) => void>;
  onSeek: (time: number) => void;
  onToggle: () => void;
}

function useWidth(): [(element: HTMLElement | null) => void, number] {
  const [element, setElement] = useState<HTMLElement | null>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, [element]);
  return [setElement, width];
}

export function Charts(props: Props) {
  const { drawing, evidence, threshold, parts, duration, wantsTrace, wantsPicture, position, moved, onSeek, onToggle } = props;
  const { t } = useWords();
  const { palette } = useTheme();
  const printing = usePrinting();
  const dark = palette.mode === "dark" && !printing;
  const wave = useRef<HTMLCanvasElement>(null);
  const trace = useRef<HTMLCanvasElement>(null);
  const spectrum = useRef<HTMLCanvasElement>(null);
  const area = useRef<HTMLDivElement | null>(null);
  const cursor = useRef<HTMLDivElement>(null);
  const time = useRef<HTMLSpanElement>(null);
  const dragging = useRef(false);
  const [observe, width] = useWidth();
  const hasSpectrum = drawing !== null && drawing.spectrumColumns > 0;

  useEffect(() => {
    if (width === 0) return;
    const ink: Ink = printing ? { dark, line: "#444", faint: "#ddd", text: "#444" }
      : { dark, line: palette.text.secondary, faint: palette.divider, text: palette.text.secondary };
    if (wave.current) paintWave(wave.current, drawing, evidence, threshold, parts, duration, ink);
    if (trace.current) paintTrace(trace.current, evidence, threshold, ink);
    if (spectrum.current && drawing) paintSpectrum(spectrum.current, drawing, dark);
  }, [width, drawing, evidence, threshold, parts, duration, dark, palette, printing, hasSpectrum]);

  useEffect(() => {
    moved.current = (at: number) => {
      if (cursor.current) cursor.current.style.transform = `translateX(${xAt(at, width, duration)}px)`;
      if (time.current) time.current.textContent = `${clock(at, true)} / ${clock(duration, duration < 60)}`;
      if (area.current) {
        area.current.setAttribute("aria-valuenow", at.toFixed(1));
        area.current.setAttribute("aria-valuetext", t.where.positionValue(at, duration));
      }
    };
    moved.current(position.current);
  }, [moved, position, width, duration, t]);

  const point = (event: PointerEvent) => {
    const box = event.currentTarget.getBoundingClientRect();
    onSeek(timeAt(event.clientX - box.left, box.width, duration));
  };
  const key = (event: KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      onToggle();
      return;
    }
    const to = seekKey(event.key, position.current, duration);
    if (to === null) return;
    event.preventDefault();
    onSeek(to);
  };
  const khz = drawing ? [8, 4, 2, 1].filter((value) => value * 1000 <= drawing.topHz) : [];

  return (
    <div className="charts">
      <p className="charts-time num"><span ref={time} data-testid="time">0:00.0</span></p>
      <div
        className="charts-area" tabIndex={0} role="slider" aria-label={t.where.position} data-testid="seek"
        aria-valuemin={0} aria-valuemax={duration} aria-valuenow={0}
        ref={(element) => {
          area.current = element;
          observe(element);
        }}
        onKeyDown={key}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          dragging.current = true;
          event.currentTarget.setPointerCapture(event.pointerId);
          point(event);
        }}
        onPointerMove={(event) => dragging.current && point(event)}
        onPointerUp={() => (dragging.current = false)}
        onPointerCancel={() => (dragging.current = false)}
      >
        {wantsPicture && <canvas className="chart-wave" ref={wave} aria-hidden="true" />}
        {wantsTrace && (
          <div className="chart-lane">
            <canvas className="chart-trace" ref={trace} aria-hidden="true" />
            <span className="lane-label lane-top">{t.where.legendAbove}</span>
            <span className="lane-label lane-bottom">{t.where.legendBelow}</span>
          </div>
        )}
        {wantsPicture && (
          <div className="chart-lane">
            <canvas className="chart-spectrum" ref={spectrum} aria-hidden="true" />
            {drawing && khz.map((value) => (
              <span key={value} className={`hz hz-${value}`}>{t.where.khz(value)}</span>
            ))}
          </div>
        )}
        <div className="cursor" ref={cursor} aria-hidden="true" />
      </div>
      <svg className="axis" width="100%" height="22" aria-hidden="true">
        {axisTimes(duration, width).map((at) => (
          <g key={at}>
            <path d={`M${xAt(at, width, duration) + 0.5} 0v5`} />
            <text x={xAt(at, width, duration)} y={18} textAnchor={at === 0 ? "start" : "middle"}>{clock(at, duration < 5)}</text>
          </g>
        ))}
      </svg>
    </div>
  );
}
