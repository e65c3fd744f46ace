"""How much a model loses when recordings were changed on their way: a table for the documents.

    python3 -m train.robust MANIFEST --program build/sonde [--model FILE] [--harder]

The program itself scores the clips of `valid`, plain and through the changes of `sonde detect
--stability` (codecs, a telephone line, noise, trimming), then a room and short excerpts that are
made here. Nothing is fitted: the last columns are the program's verdicts, the EER shows what a
change does to the order of the scores alone. --harder looks at noise and clipping of several strengths instead.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy import signal

from . import data, evaluate, export, sounds

NAMES = {
    "original": "none", "trim": "silence before and after cut off", "mp3": "MP3, 64 kbit/s", "aac": "AAC, 48 kbit/s", "opus": "Opus, 24 kbit/s",
    "narrow": "8 kHz, G.711 µ-law", "noise": "white noise, 15 dB below", "room": "a room", "2 s": "2 s from the middle", "1.5 s": "1.5 s from the middle",
}


def unclipped(x: np.ndarray) -> np.ndarray:
    return x / max(1.0, float(np.abs(x).max()) / 0.99)


def room(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Noise that dies away by 60 dB in 0.3 s, 2.5 ms after the direct sound and 6 dB below it."""
    length = int(0.3 * data.RATE)
    response = rng.standard_normal(length) * np.exp(-6.9 / length * np.arange(length))
    response[:40] = 0
    response *= 10 ** (-6 / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1
    return unclipped(signal.fftconvolve(x, response)[: len(x)])


def middle(x: np.ndarray, seconds: float) -> np.ndarray:
    first = max(0, (len(x) - int(seconds * data.RATE)) // 2)
    return x[first : first + int(seconds * data.RATE)]


def noise(rng: np.random.Generator, x: np.ndarray, below: float, slope: float) -> np.ndarray:
    """With noise so many dB below the louder half of the speech; slope as in sounds.coloured."""
    power = np.square(x[: len(x) // 160 * 160].reshape(-1, 160)).mean(1)
    power = power[power >= np.median(power)].mean() + 1e-10
    return x + np.sqrt(power) * 10 ** (-below / 20) * sounds.coloured(rng, len(x), slope)


def clipped(x: np.ndarray, below: float) -> np.ndarray:
    """Cut off so many dB below its own peak."""
    most = float(np.abs(x).max()) * 10 ** (-below / 20)
    return np.clip(x, -most, most)


# Made here; the others are the program's own. Each takes a generator and samples.
CHANGES = {"room": room, "2 s": lambda _, x: middle(x, 2.0), "1.5 s": lambda _, x: middle(x, 1.5)}
HARDER = {
    **{f"{name} noise, {below} dB below": lambda rng, x, b=below, s=slope: unclipped(noise(rng, x, b, s)) for name, slope in (("white", 0.0), ("pink", 0.5)) for below in (20, 15, 10, 5)},
    **{f"clipped, {below} dB": lambda _, x, b=below: clipped(x, b) for below in (6, 12, 18, 24, 30)},
}


def detect(args: argparse.Namespace, paths: list[str], *more: str) -> dict[str, dict]:
    command = [str(args.program), "detect", "--json", "--jobs", str(args.jobs), *(["--model", str(args.model)] if args.model else []), *more, *paths]
    return {r["file"]: r for r in map(json.loads, filter(None, subprocess.run(command, capture_output=True, text=True).stdout.splitlines()))}


def answers(args: argparse.Namespace, paths: list[str]) -> dict[str, list[dict]]:
    """What the program says by change and clip: its `llr`, perhaps None, and `verdict`."""
    import soundfile

    out = {}
    if not args.harder:
        found = detect(args, paths, "--stability")
        rows = [{r["variant"]: r for r in (found[p].get("stability") or {}).get("rows", [])} for p in paths]
        out = {name: [r.get(name, {}) for r in rows] for name in NAMES if any(name in r for r in rows)}
    for name, change in (HARDER if args.harder else CHANGES).items():
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{n}.flac" for n in range(len(paths))]
            for n, (path, file) in enumerate(zip(paths, files)):
                soundfile.write(file, change(np.random.default_rng(n), data.decode(path) / 32768), data.RATE)
            changed = detect(args, files)
            out[name] = [changed[f] for f in files]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Error rates after changes to the recordings.")
    parser.add_argument("set", type=Path, help="manifest.tsv, or a folder with bonafide/ and spoof/")
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="weights to use instead of the built-in ones")
    parser.add_argument("--harder", action="store_true", help="noise and clipping of several strengths")
    parser.add_argument("--every", type=int, default=1, help="only every Nth clip")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    clips = [c for c in data.read_set(args.set) if c.split == "valid"][:: args.every]
    label, kind = np.array([c.spoof for c in clips]), np.array([c.kind for c in clips])
    kinds = sorted(set(kind[label == 1]))
    by_change = answers(args, [str(data.root_of(args.set) / c.path) for c in clips])
    print(export.row("change", "EER", "AUC", "Cllr", "minCllr", *kinds, "human called synthetic", "synthetic called human", "without a verdict"))
    print("|" + "---|" * (8 + len(kinds)))
    for name, found in by_change.items():
        llr = np.array([np.nan if r.get("llr") is None else r["llr"] for r in found])
        scored = ~np.isnan(llr)
        verdict = np.array([r.get("verdict") for r in found])
        share = lambda which, said: export.percent(float((verdict[scored & (label == which)] == said).mean()))  # noqa: E731
        human, synthetic = evaluate.split(llr[scored], label[scored])
        each = [llr[(kind == k) & scored & (label == 1)] for k in kinds]
        rates = [export.percent(evaluate.eer(human, e)[0]) if len(e) else "-" for e in each]
        print(export.row(NAMES.get(name, name), *export.four(human, synthetic), *rates, share(0, "synthetic"), share(1, "human"), f"{share(0, 'inconclusive')} and {share(1, 'inconclusive')}"))


if __name__ == "__main__":
    main()
