/* How often answers were wrong on recordings like this one: as long, of the same channel, through the same codec. */
import type { GroupRate, Result } from "../api/types";
import { useWords } from "../i18n";

export function Alike({ result }: { result: Result }) {
  const { t, percent } = useWords();
  const rates = result.rates ?? [];
  if (!rates.length || result.verdict === "inconclusive") return null;
  const cell = (value: number, low: number, high: number, count: number) => (
    <td><span title={t.alike.interval(low, high, count)}>{percent(value)} <span className="range">({Math.round(low * 100)}–{Math.round(high * 100)})</span></span></td>
  );
  const name = (rate: GroupRate) => t.alike.name(rate.by, rate.name);
  return (
    <section className="stack-tight" aria-labelledby="alike-heading" data-testid="alike">
      <h2 id="alike-heading">{t.alike.heading}</h2>
      <table className="figures">
        <thead>
          <tr>
            <th scope="col">{t.alike.recordings}</th>
            <th scope="col">{t.alike.falseAlarms}</th>
            <th scope="col">{t.alike.misses}</th>
          </tr>
        </thead>
        <tbody>
          {rates.map((rate) => (
            <tr key={rate.by}>
              <th scope="row">{name(rate)}</th>
              {cell(rate.false_alarm, rate.false_alarm_low, rate.false_alarm_high, rate.human)}
              {cell(rate.miss, rate.miss_low, rate.miss_high, rate.synthetic)}
            </tr>
          ))}
        </tbody>
      </table>
      <p className="quiet">{t.alike.note}</p>
    </section>
  );
}
