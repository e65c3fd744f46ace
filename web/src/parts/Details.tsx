/* Everything needed to cite the answer or to repeat it. */
import IconButton from "@mui/material/IconButton";
import type { ReactNode } from "react";
import type { Result } from "../api/types";
import { useWords } from "../i18n";
import type { Known } from "../store/merge";
import { copyText } from "./clipboard";
import { Icon } from "./Icon";
import { useNotice } from "./Notice";

function Item({ name, children, wide = false }: { name: string; children: ReactNode; wide?: boolean }) {
  return (
    <div className={wide ? "detail detail-wide" : "detail"}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Hash({ name, value }: { name: string; value: string }) {
  const { t } = useWords();
  const notice = useNotice();
  const copy = async () => notice((await copyText(value)) ? t.actions.copied : t.actions.copyFailed);
  return (
    <Item name={name} wide>
      <span className="hash">{value}</span>
      <IconButton size="small" aria-label={`${t.actions.copy}: ${name}`} title={t.actions.copy} onClick={() => void copy()}>
        <Icon name="copy" />
      </IconButton>
    </Item>
  );
}

export function Details({ one, result }: { one: Known; result: Result }) {
  const { t, signed, percent, bytes, seconds, length, dateTime, number } = useWords();
  const { media } = result;
  const sha = one.file.sha256 ?? result.sha256;
  const took = one.started_at && one.finished_at ? (Date.parse(one.finished_at) - Date.parse(one.started_at)) / 1000 : null;
  const format = [...new Set([media?.container, media?.codec])].filter(Boolean).join(", ");
  return (
    <section className="stack-tight" aria-labelledby="details-heading" data-testid="details">
      <h2 id="details-heading">{t.details.heading}</h2>
      <dl className="details">
        <Item name={t.details.name} wide>{one.file.name}</Item>
        {sha && <Hash name={t.details.sha} value={sha} />}
        <Hash name={t.details.modelSha} value={result.model.sha256} />
        <Hash name={t.details.id} value={one.id} />
        <Item name={t.details.model}>{result.model.name}</Item>
        <Item name={t.details.llr}>{result.llr === null ? "–" : signed(result.llr, 3)}</Item>
        <Item name={t.details.threshold}>{signed(result.threshold, 3)}</Item>
        {result.prior !== null && <Item name={t.details.prior}>{percent(result.prior)}</Item>}
        <Item name={t.details.duration}>{length(result.duration_s)}</Item>
        <Item name={t.details.speech}>{length(result.speech_s)}</Item>
        {format && <Item name={t.details.format}>{format}</Item>}
        {media?.sample_rate ? <Item name={t.details.sampleRate}>{t.details.hz(media.sample_rate)}</Item> : null}
        {media?.channels ? <Item name={t.details.channels}>{number(media.channels)}</Item> : null}
        <Item name={t.details.size}>{bytes(one.file.bytes)}</Item>
        <Item name={t.details.created}>{dateTime(one.created_at)}</Item>
        {took !== null && took >= 0 && <Item name={t.details.took}>{seconds(took)}</Item>}
      </dl>
    </section>
  );
}
