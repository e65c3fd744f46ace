/* What the colours and the hatching mean. */
import { useWords } from "../i18n";

export function Legend() {
  const { t } = useWords();
  return (
    <ul className="legend">
      <li><i className="swatch swatch-human" />{t.where.legendHuman}</li>
      <li><i className="swatch swatch-synthetic" />{t.where.legendSynthetic}</li>
      <li><i className="swatch swatch-none" />{t.where.legendNone}</li>
    </ul>
  );
}
