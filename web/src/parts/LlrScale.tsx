/* A small scale: where the LLR lies, and where verdicts begin. */
import { useWords } from "../i18n";

const REACH = 5;

/* 0..1 along the scale. */
export function scalePosition(llr: number): number {
  return (Math.min(REACH, Math.max(-REACH, llr)) + REACH) / (2 * REACH);
}

export function LlrScale({ llr, below, from, muted }: { llr: number; below: number; from: number; muted: boolean }) {
  const { t, signed, number } = useWords();
  const w = 320;
  const x = (value: number) => 10 + scalePosition(value) * (w - 20);
  const here = x(llr);
  const [low, high] = [x(below), x(from)];
  const anchor = (at: number) => (at < 45 ? "start" : at > w - 45 ? "end" : "middle");
  return (
    <figure className={`scale${muted ? " scale-muted" : ""}`}>
      <svg viewBox={`0 0 ${w} 84`} role="img" aria-label={t.result.scale.label(llr, below, from)}>
        <rect className="scale-human" x={10} y={37} width={low - 10} height={6} />
        <rect className="scale-between" x={low} y={37} width={high - low} height={6} />
        <rect className="scale-synthetic" x={high} y={37} width={w - 10 - high} height={6} />
        {[-4, -2, 0, 2, 4].map((value) => (
          <g key={value}>
            <path className="scale-tick" d={`M${x(value)} 43v5`} />
            <text className="scale-number" x={x(value)} y={60} textAnchor="middle">{value === 0 ? number(0) : signed(value, 0)}</text>
          </g>
        ))}
        <path className="scale-limit" d={`M${low} 31v18M${high} 31v18`} />
        <path className="scale-here" d={`M${here} 35l-6 -10h12z`} />
        <text className="scale-value" x={here} y={18} textAnchor={anchor(here)}>{`${t.result.scale.here} ${signed(llr)}`}</text>
        <text className="scale-side" x={10} y={79}>{`← ${t.result.scale.human}`}</text>
        <text className="scale-side" x={w - 10} y={79} textAnchor="end">{`${t.result.scale.synthetic} →`}</text>
      </svg>
    </figure>
  );
}
