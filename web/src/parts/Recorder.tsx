/* Recording from the microphone: ask, record with a level meter, listen, send or discard. */
import Button from "@mui/material/Button";
import { useCallback, useEffect, useRef, useState } from "react";
import { useWords } from "../i18n";
import { clock } from "../i18n/format";
import { micTrouble, recordingName, startRecording, type MicTrouble, type Recording } from "../upload/record";
import { Icon } from "./Icon";

type State =
  | { step: "asking" }
  | { step: "recording"; recording: Recording; since: number }
  | { step: "ready"; blob: Blob; url: string; seconds: number }
  | { step: "trouble"; trouble: MicTrouble };

function Meter({ recording, since }: { recording: Recording; since: number }) {
  const { t } = useWords();
  const bar = useRef<HTMLDivElement>(null);
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    let frame = 0;
    let shown = 0;
    const draw = () => {
      const db = 20 * Math.log10(Math.max(1e-4, recording.level()));
      shown = Math.max((db + 60) / 60, shown * 0.92);
      if (bar.current) bar.current.style.transform = `scaleX(${Math.min(1, Math.max(0.005, shown)).toFixed(3)})`;
      setSeconds(Math.floor((Date.now() - since) / 1000));
      frame = requestAnimationFrame(draw);
    };
    frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  }, [recording, since]);
  return (
    <div className="meter">
      <span className="meter-time" role="timer" aria-label={t.recorder.time} data-testid="record-time">{clock(seconds)}</span>
      <div className="meter-track" role="img" aria-label={t.recorder.level}>
        <div className="meter-bar" ref={bar} />
      </div>
    </div>
  );
}

export default function Recorder({ onSend, onClose }: { onSend: (file: File) => void; onClose: () => void }) {
  const { t } = useWords();
  const [state, setState] = useState<State>({ step: "asking" });
  const current = useRef<Recording | null>(null);
  const run = useRef(0);

  const begin = useCallback(() => {
    const mine = ++run.current;
    setState({ step: "asking" });
    startRecording().then(
      (recording) => {
        if (mine !== run.current) return recording.cancel();
        current.current = recording;
        setState({ step: "recording", recording, since: Date.now() });
      },
      (error: unknown) => {
        const known = (error as { trouble?: MicTrouble }).trouble;
        if (mine === run.current) setState({ step: "trouble", trouble: known ?? micTrouble(error) });
      },
    );
  }, []);

  useEffect(() => {
    begin();
    return () => {
      run.current++;
      current.current?.cancel();
      current.current = null;
    };
  }, [begin]);

  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    box.current?.focus({ preventScroll: true });
    box.current?.scrollIntoView({ block: "nearest" });
  }, [state.step]);

  const url = state.step === "ready" ? state.url : null;
  useEffect(() => (url ? () => URL.revokeObjectURL(url) : undefined), [url]);

  const stop = async () => {
    if (state.step !== "recording") return;
    const seconds = (Date.now() - state.since) / 1000;
    current.current = null;
    const blob = await state.recording.stop();
    setState({ step: "ready", blob, url: URL.createObjectURL(blob), seconds });
  };
  const send = () => {
    if (state.step !== "ready") return;
    onSend(new File([state.blob], recordingName(t.recorder.fileName, state.blob.type, new Date()), { type: state.blob.type }));
  };

  return (
    <section ref={box} tabIndex={-1} className="panel recorder" aria-labelledby="recorder-heading" data-testid="recorder" data-step={state.step}>
      <h2 id="recorder-heading">{t.recorder.heading}</h2>
      <div role="status">
        {state.step === "asking" && <p>{t.recorder.asking}</p>}
        {state.step === "recording" && <p>{t.recorder.listening}</p>}
        {state.step === "ready" && <p>{state.seconds < 2 ? t.recorder.tooShort : t.recorder.ready}</p>}
        {state.step === "trouble" && <p>{t.recorder[state.trouble]}</p>}
      </div>
      {state.step === "recording" && <Meter recording={state.recording} since={state.since} />}
      {state.step === "ready" && <audio controls src={state.url} aria-label={t.recorder.heading} />}
      <div className="buttons">
        {state.step === "recording" && (
          <Button variant="contained" startIcon={<Icon name="stop" />} onClick={() => void stop()}>{t.recorder.stop}</Button>
        )}
        {state.step === "ready" && <Button variant="contained" onClick={send}>{t.recorder.send}</Button>}
        {state.step === "ready" && <Button variant="outlined" startIcon={<Icon name="retry" />} onClick={begin}>{t.recorder.again}</Button>}
        {state.step === "trouble" && <Button variant="outlined" startIcon={<Icon name="retry" />} onClick={begin}>{t.recorder.again}</Button>}
        <Button onClick={onClose}>{state.step === "trouble" || state.step === "asking" ? t.recorder.close : t.recorder.discard}</Button>
      </div>
    </section>
  );
}
