/* The answer: in words, as a figure, what the figure means, how often such answers are wrong, and what limits it. */
import type { Result } from "../api/types";
import { useWords } from "../i18n";
import { isBorderline, reasonSentence, verdictTitle } from "../i18n/say";
import { useAppSelector } from "../store/store";
import { LlrScale } from "./LlrScale";

export function VerdictPanel({ result }: { result: Result }) {
  const { t, percent } = useWords();
  const model = useAppSelector((state) => state.connection.info?.model);
  const sameModel = !model?.sha256 || model.sha256 === result.model.sha256;
  const decided = result.verdict !== "inconclusive";
  const weighs = decided || isBorderline(result);
  return (
    <section className={`verdict verdict-${result.verdict}`} data-testid="verdict" data-verdict={result.verdict}>
      <h2>{verdictTitle(t, { verdict: result.verdict, result })}</h2>
      <div className="verdict-words">
        {weighs && result.p_synthetic !== null && <p>{t.result.meaning(result.p_synthetic, result.prior ?? 0.5)}</p>}
        {decided && sameModel && model && model.falseAlarms !== null && model.misses !== null && (
          <p>{t.result.rates(model.falseAlarms, model.misses, ((model.undecidedHuman ?? 0) + (model.undecidedSynthetic ?? 0)) / 2)}</p>
        )}
        {result.reasons.length > 0 && (
          <ul className="reasons" aria-label={t.reasons.heading} data-testid="reasons">
            {result.reasons.map((reason, index) => <li key={index} data-code={reason.code}>{reasonSentence(t, reason)}</li>)}
          </ul>
        )}
        {!weighs && result.llr !== null && <p>{t.result.scoreOnly}</p>}
        {weighs && <p className="evidence">{t.result.evidence}</p>}
      </div>
      <div className="verdict-figure">
        <p className="figure" data-testid="probability">
          {result.p_synthetic === null ? <span className="figure-none">–</span> : percent(result.p_synthetic)}
        </p>
        <p className="figure-label">{result.p_synthetic === null ? t.result.noScore : weighs ? t.result.probability : t.result.scoreLabel}</p>
        {result.llr !== null && (
          <LlrScale llr={result.llr} below={result.human_below ?? result.threshold} from={result.synthetic_from ?? result.threshold} muted={!weighs} />
        )}
      </div>
    </section>
  );
}
