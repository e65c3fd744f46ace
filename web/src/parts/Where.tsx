/* Where in the recording: waveform, evidence and spectrogram over one time axis, with the player and the synthetic parts. */
import Button from "@mui/material/Button";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { getPicture } from "../api/client";
import { toProblem } from "../api/problem";
import type { Result } from "../api/types";
import { decodePicture, type Drawing } from "../draw/decode";
import { evidenceColumns } from "../draw/evidence";
import { useWords } from "../i18n";
import { clock } from "../i18n/format";
import type { Known } from "../store/merge";
import { Charts } from "./Charts";
import { Icon } from "./Icon";
import { Legend } from "./Legend";

const COLUMNS = 2000;
const PARTS_SHOWN = 24;

function usePicture(one: Known): { drawing: Drawing | null; failed: boolean } {
  const [drawing, setDrawing] = useState<Drawing | null>(null);
  const [failed, setFailed] = useState(false);
  const { picture } = one.links;
  const { kept } = one.file;
  useEffect(() => {
    if (!kept) return;
    const abort = new AbortController();
    getPicture(picture, abort.signal).then(
      (data) => setDrawing(decodePicture(data)),
      (error: unknown) => toProblem(error).code !== "canceled" && setFailed(true),
    );
    return () => abort.abort();
  }, [picture, kept]);
  return { drawing, failed };
}

export function Where({ one, result }: { one: Known; result: Result }) {
  const { t, signed } = useWords();
  const { drawing, failed } = usePicture(one);
  const audio = useRef<HTMLAudioElement>(null);
  const [playing, setPlaying] = useState(false);
  const [unplayable, setUnplayable] = useState(false);
  const [allParts, setAllParts] = useState(false);
  const position = useRef(0);
  const moved = useRef<(time: number) => void>(() => undefined);
  const duration = result.duration_s;
  /* Without a verdict the windows' scores support nothing, so nothing is coloured by them. */
  const decided = result.verdict !== "inconclusive";
  const evidence = useMemo(
    () => evidenceColumns(decided ? result.timeline : [], duration, COLUMNS),
    [decided, result.timeline, duration],
  );

  const seek = useCallback((time: number, play = false) => {
    position.current = time;
    moved.current(time);
    const player = audio.current;
    if (!player) return;
    if (player.readyState > 0) player.currentTime = time;
    if (play) void player.play().catch(() => undefined);
  }, []);
  const toggle = useCallback(() => {
    const player = audio.current;
    if (!player) return;
    if (player.paused) {
      if (player.readyState === 0) player.load();
      void player.play().catch(() => undefined);
    } else player.pause();
  }, []);

  useEffect(() => {
    if (!playing) return;
    let frame = 0;
    const follow = () => {
      if (audio.current) moved.current((position.current = audio.current.currentTime));
      frame = requestAnimationFrame(follow);
    };
    frame = requestAnimationFrame(follow);
    return () => cancelAnimationFrame(frame);
  }, [playing]);

  const parts = result.synthetic_parts;
  const shown = allParts ? parts : parts.slice(0, PARTS_SHOWN);
  const canPlay = one.file.kept && !unplayable;
  return (
    <section className="where" aria-labelledby="where-heading">
      <div className="heading-row">
        <h2 id="where-heading">{t.where.heading}</h2>
        {decided && <Legend />}
      </div>
      {!one.file.kept && <p className="note" data-testid="not-kept">{t.where.notKept}</p>}
      {failed && <p className="note">{t.where.noPicture}</p>}
      {one.file.kept && (
        <audio
          ref={audio} src={one.links.audio} preload="metadata" data-testid="audio"
          onPlay={() => setPlaying(true)} onPause={() => setPlaying(false)} onEnded={() => setPlaying(false)}
          onLoadedMetadata={(event) => {
            if (position.current > 0) event.currentTarget.currentTime = position.current;
          }}
          onError={() => setUnplayable(true)}
        />
      )}
      {(decided || one.file.kept) && duration > 0 && (
        <Charts
          drawing={drawing} evidence={evidence} threshold={result.threshold} parts={parts} duration={duration}
          wantsTrace={decided} wantsPicture={one.file.kept && !failed} position={position} moved={moved} onSeek={seek} onToggle={toggle}
        />
      )}
      <div className="transport">
        {canPlay && (
          <Button variant="contained" onClick={toggle} startIcon={<Icon name={playing ? "pause" : "play"} />} data-testid="play">
            {playing ? t.where.pause : t.where.play}
          </Button>
        )}
        {unplayable && (
          <p className="note">
            {t.where.cannotPlay} <a href={one.links.audio} download={one.file.name}>{t.actions.audio}</a>
          </p>
        )}
        <p className="quiet small">{canPlay && t.where.keys} {decided && t.where.blurred}</p>
      </div>
      {decided && (
        <div className="parts">
          <h3>{t.where.parts}</h3>
          {parts.length === 0 ? (
            <p className="quiet">{t.where.noParts}</p>
          ) : (
            <ul className="part-list" data-testid="parts">
              {shown.map((part, index) => (
                <li key={index}>
                  <button type="button" className="part" title={t.where.jump(part.start_s, part.end_s, part.llr)} onClick={() => seek(part.start_s, playing)}>
                    <span>{clock(part.start_s)}–{clock(part.end_s)}</span>
                    <span className="part-llr">{signed(part.llr, 1)}</span>
                  </button>
                </li>
              ))}
              {parts.length > shown.length && (
                <li><Button size="small" onClick={() => setAllParts(true)}>{t.actions.more} ({parts.length - shown.length})</Button></li>
              )}
            </ul>
          )}
        </div>
      )}
    </section>
  );
}
