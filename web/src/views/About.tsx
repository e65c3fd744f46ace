/* How it decides, what it does not cover, how often it is wrong, and what happens to recordings. */
import { useWords } from "../i18n";
import { useTitle } from "../parts/useTitle";
import { useAppSelector } from "../store/store";

function Figures() {
  const { t, number, signed } = useWords();
  const model = useAppSelector((state) => state.connection.info?.model);
  if (!model || (model.falseAlarms === null && model.misses === null)) return <p className="quiet">{t.about.noFigures}</p>;
  const rows: [string, string | null][] = [
    [t.about.falseAlarms, model.falseAlarms === null ? null : t.about.rate(model.falseAlarms)],
    [t.about.misses, model.misses === null ? null : t.about.rate(model.misses)],
    [t.about.undecidedHuman, model.undecidedHuman === null ? null : t.about.rate(model.undecidedHuman)],
    [t.about.undecidedSynthetic, model.undecidedSynthetic === null ? null : t.about.rate(model.undecidedSynthetic)],
    [t.about.eer, model.eer === null ? null : t.about.rate(model.eer)],
    [t.about.auc, model.auc === null ? null : number(model.auc, 3)],
    [t.about.cllr, model.cllr === null ? null : number(model.cllr, 3)],
    [t.about.threshold, model.threshold === null ? null : signed(model.threshold, 3)],
    [t.about.model, model.name],
  ];
  return (
    <>
      {model.humans !== null && model.synthetics !== null && <p>{t.about.figures(model.humans, model.synthetics)}</p>}
      <table className="figures">
        <tbody>
          {rows.map(([name, value]) => value && (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td className="num-cell">{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p>{t.about.advice}</p>
    </>
  );
}

export default function About() {
  const { t } = useWords();
  useTitle(t.title.about);
  const info = useAppSelector((state) => state.connection.info);
  return (
    <article className="about">
      <h1>{t.about.heading}</h1>
      <section>
        <h2>{t.about.decideHeading}</h2>
        <ol>{t.about.decide.map((text) => <li key={text}>{text}</li>)}</ol>
      </section>
      <section>
        <h2>{t.about.figuresHeading}</h2>
        <Figures />
      </section>
      <section>
        <h2>{t.about.limitsHeading}</h2>
        <ul>{t.about.limits.map((text) => <li key={text}>{text}</li>)}</ul>
      </section>
      <section>
        <h2>{t.about.privacyHeading}</h2>
        <p>{t.about.privacy}</p>
        {info && (
          <p>
            {info.keepRecordingsDays ? t.about.keepRecordings(info.keepRecordingsDays * 86400) : ""}{" "}
            {info.keepResultsDays ? t.about.keepResults(info.keepResultsDays * 86400) : ""}
            {!info.keepRecordingsDays && !info.keepResultsDays ? t.about.keepForever : ""}
          </p>
        )}
      </section>
      <section>
        <h2>{t.about.apiHeading}</h2>
        <p>{t.about.api}</p>
        <p><a href="/docs">{t.about.apiLink}</a> · <a href="/openapi.json">{t.about.apiSpec}</a></p>
        {info?.version && <p className="quiet">{t.about.version} {info.version}</p>}
      </section>
    </article>
  );
}
