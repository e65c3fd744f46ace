"""Writes a trained checkpoint as a model file, with calibration and card.

The calibration is one scale and one offset. They and the threshold are fitted on
training's own clips, each judged by networks that had nothing of its source
(train.second --folds), or, for a first network alone, on the validation clips. The card says which,
and holds every figure by kind, source and language, good or bad.
"""
from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from . import data, detail, env, evaluate, frontend, model, safetensors
from .second import WEIGHTS, Clips

# Verdicts begin where, of training's clips judged without their sources, so many human ones lie above and so many synthetic ones below.
FALSE_ALARMS, MISSES = 0.04, 0.10
GAP_FROM_S, GAP_CLOSES_S = 3.0, 12.0  # of speech: training's clips, and four of them; the limits draw near to each other between (docs/adr/0009)
TEMPLATE = Path(__file__).parent / "card.md.in"
SHIPPED = Path(__file__).parent.parent / "models" / "sonde-8.safetensors"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def rate(wrong: np.ndarray) -> str:
    return f"{int(wrong.sum())} ({percent(float(wrong.mean()))})" if len(wrong) else "-"


def row(*cells: object) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def four(human: np.ndarray, synthetic: np.ndarray) -> tuple[str, str, str, str]:
    f = evaluate.figures(human, synthetic, True)
    return percent(f["eer"]), f"{f['auc']:.3f}", f"{f['cllr']:.3f}", f"{f['min_cllr']:.3f}"


def measured_by(program: Path, weights: Path, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean window logits as the program itself arrives at them, from file to score, and seconds of speech.

    Its decoders and its resampler are not those of training. What they change
    is small, but a threshold should be set on what users will see.
    """
    _, metadata = safetensors.load(weights)
    scale, offset = float(metadata["llr_scale"]), float(metadata["llr_offset"])
    command = [str(program), "detect", "--json", "--jobs", "1", "--model", str(weights), *paths]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    found = {r["file"]: r for r in map(json.loads, filter(None, lines))}
    return np.array([(found[p]["llr"] - offset) / scale for p in paths]), np.array([found[p]["speech_s"] for p in paths])


class Results:
    """Calibrated scores of the validation clips, and what follows from them.

    `saved` may hold the scores of training's own clips that calibration, threshold and limits are fitted on; without
    them, calibration and threshold are fitted on the validation clips, and verdicts begin at the threshold."""

    def __init__(self, net: model.Detector, second: model.Detail | None, cache: data.Cache, saved: dict, program: Path | None = None, root: Path = Path()) -> None:
        fold = saved.get("out_of_fold")
        self.members = [i for i, c in enumerate(cache.clips) if c.split == "valid"]
        self.clips = [cache.clips[i] for i in self.members]
        self.net, self.second, self.cache = net, second, cache
        self.label = np.array([c.spoof for c in self.clips])
        if program:
            with tempfile.NamedTemporaryFile(suffix=".safetensors") as plain:
                safetensors.save(Path(plain.name), tensors_of(net, second), {**shape(second), "name": "uncalibrated", "llr_scale": "1", "llr_offset": "0", "threshold_llr": "0"})
                raw, speech = measured_by(program, Path(plain.name), [str(root / c.path) for c in self.clips])
        else:
            raw, speech = self.scores(), cache.length[self.members] / data.RATE
        fitted = evaluate.split(fold["scores"], fold["label"]) if fold else evaluate.split(raw, self.label)
        self.scale, self.offset = evaluate.calibrate(*fitted)
        if self.scale <= 0:
            raise SystemExit("the scores do not grow with the label; this checkpoint is of no use")
        self.llr = self.scale * raw + self.offset
        self.human, self.synthetic = evaluate.split(self.llr, self.label)
        self.figures = evaluate.figures(self.human, self.synthetic, True)
        gap = np.log(GAP_CLOSES_S / np.maximum(speech, 0.1)) / np.log(GAP_CLOSES_S / GAP_FROM_S)
        self.gap = np.clip(gap, 0, 1)  # how open it is for each clip
        self.threshold = self.human_below = self.synthetic_from = self.scale * evaluate.eer(*fitted)[1] + self.offset
        if fold:
            human, synthetic = (self.scale * v + self.offset for v in fitted)
            self.human_below = min(self.threshold, float(np.quantile(synthetic, MISSES)))
            self.synthetic_from = max(self.threshold, float(np.quantile(human, 1 - FALSE_ALARMS)))
            f = evaluate.figures(human, synthetic, True)
            self.flattered, self.fixed_on = "", "on training's clips, each judged without its source"
            self.fixed_how = (
                f"Calibration, threshold and limits have seen nothing of `valid`: they are\nfitted on {f['n_bonafide']} human and {f['n_spoof']} synthetic clips of training, each judged by\nsecond networks that were trained without its source (the first one, which adds next to nothing, is left out there); "
                f"there\nEER is {percent(f['eer'])}, AUC {f['auc']:.3f}, Cllr {f['cllr']:.3f} and minCllr {f['min_cllr']:.3f}."
            )
        else:
            cost, error = evaluate.left_out(raw, self.label, np.array([c.source for c in self.clips]))
            self.flattered, self.fixed_on = ", and calibration and threshold are fitted on it", "on `valid`"
            self.fixed_how = f"With calibration and threshold fitted without\nthe source that is judged, each in turn, Cllr is {cost:.3f} and the mean of the two error rates {percent(error)}."
        self.false_positives = int((self.human >= self.threshold).sum())
        self.false_negatives = int((self.synthetic < self.threshold).sum())

    def scores(self, copy: int = 0) -> np.ndarray:
        """Mean window logits with the decoders of training."""
        first = evaluate.Windows(self.cache, self.members, copy).scores(self.net)
        return first + Clips(self.cache, self.members, copy).scores(self.second) if self.second else first

    def verdicts(self, label: int) -> tuple[int, int]:
        """Clips of a label with the other's verdict, and those with none because their score is too close to call."""
        off, gap = (v[self.label == label] for v in (self.llr - self.threshold, self.gap))
        human, synthetic = off < gap * (self.human_below - self.threshold), off >= gap * (self.synthetic_from - self.threshold)
        return int((human if label else synthetic).sum()), int((~human & ~synthetic).sum())

    def limits(self) -> str:
        """The paragraph of the card on where verdicts begin."""
        if self.human_below == self.synthetic_from:
            return "The verdict is synthetic from there on, human below."
        (false, open_human), (missed, open_synthetic) = self.verdicts(0), self.verdicts(1)
        nh, ns = len(self.human), len(self.synthetic)
        span = lambda k, n: "{} to {}".format(*map(percent, evaluate.wilson(k, n)))  # noqa: E731
        return (
            f"**Verdicts** leave room around it: human below {self.human_below:+.3f}, synthetic from {self.synthetic_from:+.3f} on, and none between (reason\n"
            f"`borderline`). The limits are where {100 * FALSE_ALARMS:g} % of training's human clips lie above and {100 * MISSES:g} % of its synthetic ones below; from {GAP_FROM_S:g} s of speech on\nthey draw near to the threshold, which they reach at {GAP_CLOSES_S:g} s (docs/adr/0009-two-limits.md). On `valid`\n"
            f"**{false} of {nh} human clips are called synthetic ({percent(false / nh)}, {span(false, nh)}) and {missed} of {ns} synthetic ones human\n"
            f"({percent(missed / ns)}, {span(missed, ns)})**; {open_human} ({percent(open_human / nh)}) and {open_synthetic} ({percent(open_synthetic / ns)}) are left open."
        )

    def groups(self, name: str) -> dict[str, np.ndarray]:
        values = np.array([getattr(c, name) or "unknown" for c in self.clips])
        return {v: values == v for v in sorted(set(values), key=lambda v: (-int((values == v).sum()), v))}

    def errors(self, mask: np.ndarray, label: int) -> np.ndarray:
        """Which clips of a label are on the wrong side of the threshold."""
        scores = self.llr[mask & (self.label == label)]
        return scores < self.threshold if label else scores >= self.threshold

    def tables(self) -> dict[str, str]:
        kinds = self.groups("kind")
        overall = [row("all", len(self.human), len(self.synthetic), *four(self.human, self.synthetic))]
        made = [k for k in ("tts", "vc") if k in kinds]
        if made and len(made) < len([k for k in kinds if k != "human"]):
            mask = np.any([kinds[k] for k in made], axis=0)
            chosen = self.llr[mask & (self.label == 1)]
            overall.append(row("without codec and vocoder", len(self.human), len(chosen), *four(self.human, chosen)))
        by_kind = []
        for kind, mask in kinds.items():
            chosen = self.llr[mask & (self.label == 1)]
            if len(chosen):
                e, a, c, _ = four(self.human, chosen)
                by_kind.append(row(kind, len(chosen), e, a, c, rate(self.errors(mask, 1))))
        by_source, by_language = [], []
        for name, rows in (("source", by_source), ("language", by_language)):
            groups = self.groups(name)
            if name == "language":  # one row for those with too few clips to say anything
                small = [v for v, mask in groups.items() if mask.sum() < 10]
                if len(small) > 1:
                    rest = np.any([groups.pop(v) for v in small], axis=0)
                    groups[f"{len(small)} others"] = rest
            for value, mask in groups.items():
                h, s = self.llr[mask & (self.label == 0)], self.llr[mask & (self.label == 1)]
                last = "-"
                if len(h) and len(s):
                    f = evaluate.figures(h, s)
                    last = f"{f['auc']:.3f}" if name == "source" else percent(f["eer"])
                rows.append(row(value, len(h), rate(self.errors(mask, 0)), len(s), rate(self.errors(mask, 1)), last))
        coded = []
        for copy in range(1, len(self.cache.copies)):
            h, s = evaluate.split(self.scale * self.scores(copy) + self.offset, self.label)
            coded.append(row(f"codecs, draw {copy}", percent(evaluate.eer(h, s)[0]), rate(h >= self.threshold), rate(s < self.threshold)))
        return {k: "\n".join(v) for k, v in dict(overall=overall, by_kind=by_kind, by_source=by_source, by_language=by_language, coded=coded).items()}

    def weak(self) -> str:
        """The groups that fail most, in words."""
        lines = []
        for value, mask in self.groups("source").items():
            for label, what in ((0, "human clips called synthetic"), (1, "synthetic clips missed")):
                wrong = self.errors(mask, label)
                if len(wrong) >= 8 and wrong.mean() >= 0.35:
                    lines.append(f"- {value}: {percent(float(wrong.mean()))} of {len(wrong)} {what}.")
        return "\n".join(lines)


def best(run: dict) -> int:
    """The step whose evaluation has the lowest minCllr: later ones may have learnt the sources by heart."""
    return min(run["evaluations"], key=lambda e: e["valid"]["min_cllr"])["step"]


def chosen(run: dict, step: int) -> str:
    """How this state of the run was picked, in words."""
    if "average" in run:
        return run["average"]
    rates = [e["valid"]["eer"] for e in run["evaluations"]]
    if len(rates) < 2:
        return "The weights are those of the run's end."
    return (
        f"The weights are those after {step} of {run['steps']} steps: of {len(rates)} evaluated states they have the lowest minCllr on `valid`.\n"
        f"Over these states the EER on `valid` ranges from {percent(min(rates))} to {percent(max(rates))} and ends at {percent(rates[-1])}, so part of the\n"
        "chosen one's lead is luck of the choice."
    )


def tensors_of(net: model.Detector, second: model.Detail | None = None) -> dict[str, np.ndarray]:
    state = {**net.state_dict(), **({f"detail.{k}": v for k, v in second.state_dict().items()} if second else {})}
    return {k: v.numpy().astype(np.float32) for k, v in state.items() if v.dtype.is_floating_point}


def gate_of(path: Path, mean: np.ndarray, scale: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The gate (train.gate --numbers) of the model in `path`, for one whose numbers have this mean and scale (model.Detail): tensors and metadata."""
    tensors, metadata = safetensors.load(path)
    slope = tensors["gate.weight"].astype(np.float64) * tensors["detail.scale"]
    shift = float(slope @ (mean - tensors["detail.mean"].astype(np.float64)))
    return {"gate.weight": (slope / scale).astype(np.float32)}, {"gate_limit": f"{float(metadata['gate_limit']) - shift:.4f}"}


def shape(second: model.Detail | None = None) -> dict[str, str]:
    """What the program must know to build the networks and their front end."""
    more = {"detail_hidden": f"{second.fc1.out_features},{second.fc2.out_features}"} if second else {}
    return {
        **more,
        "format": "sonde-detector/1", "arch": "resnet-attn", "sample_rate": str(data.RATE), "frame_length": str(frontend.FRAME),
        "frame_hop": str(frontend.HOP), "fft_size": str(frontend.SIZE), "bands": str(frontend.BANDS), "window_frames": str(frontend.FRAMES),
        "hop_frames": str(frontend.HOP_FRAMES), "floor_db": "60", "band_norm": "mean", "stem_channels": str(model.STEM),
        "stage_channels": ",".join(map(str, model.CHANNELS)), "stage_blocks": ",".join(map(str, model.BLOCKS)),
        "attn_hidden": str(model.ATTN), "fc_hidden": str(model.FC), "prior": "0.5", "license": "Apache-2.0",
    }


SECOND = """\
A second network looks at {count:,} numbers of each window (train/detail.py): fine structure of the long-term spectrum, how
line-like bands are, how they pulse together within 25 ms, spreads and steps of the first one's input, two-dimensional modulation
spectra of three pictures of levels, and which small steps stand side by side in them; all but the first two both where it is loud and where
it is quiet, 17 to 43 dB below the loudest twentieth. {nets} small networks of
two hidden layers ({hidden[0]}, {hidden[1]}), averaged, give a logit that is added with weight {weight:g}. Of the rows that they were trained on,
seven in ten come from {gentle:,} gentle draws: clips as they are or through codecs, a quarter cut to 1.2 to 3.5 s, six in ten played up to 8 % faster or
slower; one in ten comes from {noisy:,} draws in noise of 5 to 20 dB, the others from {rough:,} changed like those above. Pairs whose synthetic clip
is a person's through a neural codec come {codec:g} times as often, through a vocoder {vocoder:g} times.

"""
GATE = """\
Against music and noise it has 8,110 weights more, for the same numbers (train/gate.py): a recording whose windows' weighted sum lies
beyond a limit is no speech, and has no verdict.

"""


def export(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    cache = data.build(args.set, args.cache)
    saved = torch.load(args.checkpoint)
    net = model.Detector()
    net.load_state_dict(saved["ema"])
    net.eval()
    second = None
    if "detail" in saved:
        hidden = tuple(len(saved["detail"][f"{layer}.bias"]) for layer in ("fc1", "fc2"))
        second = model.Detail(hidden)
        second.load_state_dict(saved["detail"])
        second.eval()
    results = Results(net, second, cache, saved, args.program, data.root_of(args.set))
    f, run = results.figures, saved["run"]
    if args.run:
        run = json.loads(args.run.read_text())
    nh, ns = f["n_bonafide"], f["n_spoof"]
    fpr, fnr = results.false_positives / nh, results.false_negatives / ns
    (fpr_lo, fpr_hi), (fnr_lo, fnr_hi) = evaluate.wilson(results.false_positives, nh), evaluate.wilson(results.false_negatives, ns)
    (false, open_human), (missed, open_synthetic) = results.verdicts(0), results.verdicts(1)
    date = datetime.date.today().isoformat()
    arguments = run["arguments"]
    steps = saved["step"]
    minutes = round(saved["spent"] / 60)

    words = ""
    if second:
        words = SECOND.format(count=detail.COUNT, **WEIGHTS, **saved["detail_run"]["arguments"])
    metadata = {
        **shape(second), "name": args.name,
        "llr_scale": f"{results.scale:.9g}", "llr_offset": f"{results.offset:.9g}", "threshold_llr": f"{results.threshold:.9g}",
        "human_below_llr": f"{results.human_below:.9g}", "synthetic_from_llr": f"{results.synthetic_from:.9g}", "gap_from_s": f"{GAP_FROM_S:g}", "gap_closes_s": f"{GAP_CLOSES_S:g}",
        "calibration": "logistic regression, equal class weights, " + ("on training clips judged without their sources" if "out_of_fold" in saved else "on the evaluation set"),
        "eval_set": args.set_name, "eval_eer": f"{f['eer']:.5f}", "eval_auc": f"{f['auc']:.5f}", "eval_cllr": f"{f['cllr']:.5f}", "eval_min_cllr": f"{f['min_cllr']:.5f}",
        "eval_n_bonafide": str(nh), "eval_n_spoof": str(ns),
        **{f"eval_{key}{end}": f"{value:.5f}" for key, k, n in (("fpr", false, nh), ("fnr", missed, ns)) for end, value in zip(("", "_lo", "_hi"), (k / n, *evaluate.wilson(k, n)))},
        "eval_undecided_bonafide": f"{open_human / nh:.5f}", "eval_undecided_spoof": f"{open_synthetic / ns:.5f}",
        "train_seed": str(arguments["seed"]), "train_steps": str(steps), "train_batch": str(arguments["batch"]),
        "train_clips": str(run["train_clips"]), "train_date": date, "train_torch": run["torch"],
    }
    if args.interim:
        metadata["state"] = "interim"
    tensors = tensors_of(net, second)
    if second and args.gate:
        weights, limit = gate_of(args.gate, second.mean.numpy(), second.scale.numpy())
        tensors.update(weights)
        metadata.update(limit)
        words += GATE
    safetensors.save(args.out, tensors, metadata)

    train = [(i, c) for i, c in enumerate(cache.clips) if c.split == "train"]
    kinds = Counter(c.kind for _, c in train)
    text = TEMPLATE.read_text().format(
        name=args.name, state="**An interim state of a training that goes on; not for use.**\n\n" if args.interim else "",
        parameters=f"{sum(p.numel() for n in (net, second) if n for p in n.parameters()):,}", valid_bonafide=nh, valid_spoof=ns, valid_sources=len({c.source for c in results.clips}),
        threshold=f"{results.threshold:.3f}", fpr_errors=results.false_positives, fnr_errors=results.false_negatives,
        fpr=percent(fpr), fpr_lo=percent(fpr_lo), fpr_hi=percent(fpr_hi), fnr=percent(fnr), fnr_lo=percent(fnr_lo), fnr_hi=percent(fnr_hi),
        train_bonafide=sum(not c.spoof for _, c in train), train_spoof=sum(c.spoof for _, c in train),
        train_hours=f"{sum(cache.length[i] for i, _ in train) / data.RATE / 3600:.1f}", train_sources=len({c.source for _, c in train}),
        train_systems=len({c.system for _, c in train if c.spoof}), train_languages=len({c.language for _, c in train} - {"", "unknown"}),
        train_kinds=", ".join(f"{k} {n}" for k, n in kinds.most_common()),
        minutes=minutes, steps=steps, batch=arguments["batch"], clips_per_second=round(steps * arguments["batch"] / max(1.0, saved["spent"])),
        measured="by the program itself, from file to score" if args.program else "with the decoders of training, not the program's own",
        second=words, chosen=chosen(run, steps) + (f"\n{args.note}" if args.note else ""), adversary=arguments.get("adversary", 0), pairs=percent(arguments["pairs"]), smoothing=arguments["smoothing"], seed=arguments["seed"], date=date, torch=run["torch"],
        limits=results.limits(), flattered=results.flattered, fixed_on=results.fixed_on, fixed_how=results.fixed_how, scale=f"{results.scale:.4f}", offset=f"{results.offset:+.4f}", weak=results.weak(), **results.tables(),
    )
    args.out.with_suffix(".md").write_text(text)
    print(f"{args.out}: EER {percent(f['eer'])}, AUC {f['auc']:.4f}, Cllr {f['cllr']:.3f}, minCllr {f['min_cllr']:.3f}, step {saved['step']}")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="Export a checkpoint as a model file with its card.")
    p.add_argument("set", type=Path, help="manifest.tsv, or a folder with bonafide/ and spoof/")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("out", type=Path, help="NAME.safetensors; the card goes beside it as NAME.md")
    p.add_argument("--name", default="sonde-8")
    p.add_argument("--set-name", default="valid", help="what the model file calls the evaluation set")
    p.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    p.add_argument("--program", type=Path, help="sonde; figures, calibration and threshold then come from its own scores")
    p.add_argument("--note", default="", help="a sentence for the card on how the settings were found")
    p.add_argument("--gate", type=Path, default=SHIPPED, help="model file whose weights against music and noise it takes over")
    p.add_argument("--run", type=Path, help="record of the whole run, where the checkpoint is from before its end")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--interim", action="store_true", help="mark the model as one that is still in training")
    return p


def main() -> None:
    args = parser().parse_args()
    env.tune("train.export", args.threads)
    export(args)


if __name__ == "__main__":
    main()
