"""Speech of one kind with a stretch of the other in it: how often the program shows it.

    python3 -m train.splice MANIFEST --program build/sonde [--split valid] [--each 60] [--keep FILE]

Long recordings (2 to 10 minutes, the long ones rarer) are clips of one source and label in a row, at one level; a source
with too little of them says them again. Into one gap goes a stretch of the other label, of the same source where it has enough.
"shown" is a part of `synthetic_parts` that begins and ends within one window (3.86 s) of where the stretch does; for human
stretches in synthetic speech it is a gap between parts. Nothing is written but temporary files; --keep saves all
timelines, and what it holds is not made again.
"""
from __future__ import annotations

import argparse
import functools
import json
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from . import data, evaluate

WINDOW_S = 3.86
LEVEL = 0.06  # root mean square of every clip
STRETCHES = (0, 4, 8, 15, 30)


@functools.cache
def load(path: str) -> np.ndarray:
    x = data.decode(path).astype(np.float32) / 32768
    return x * (LEVEL / max(1e-4, float(np.sqrt(np.mean(x * x)))))


def row_of(rng: np.random.Generator, root: Path, clips: list[data.Clip], seconds: float) -> list[np.ndarray]:
    """Clips in random order, again from the first where there are too few, until they are long enough."""
    out: list[np.ndarray] = []
    length = 0
    while length < seconds * data.RATE:
        for n in rng.permutation(len(clips)):
            out.append(load(str(root / clips[n].path)))
            length += len(out[-1])
            if length >= seconds * data.RATE:
                break
    return out


def splice(rng: np.random.Generator, root: Path, base: list[data.Clip], other: list[data.Clip], stretch: float) -> tuple[np.ndarray, float, float]:
    """Samples, and from when to when the stretch is (0, 0: none)."""
    rows = row_of(rng, root, base, float(np.exp(rng.uniform(np.log(120), np.log(600)))))
    at = int(rng.integers(len(rows) // 5, len(rows) - len(rows) // 5))
    before, after = np.concatenate(rows[:at]), np.concatenate(rows[at:])
    if not stretch:
        return np.concatenate([before, after]), 0.0, 0.0
    middle = np.concatenate(row_of(rng, root, other, stretch))[: int(stretch * data.RATE)]
    return np.concatenate([before, middle, after]), len(before) / data.RATE, (len(before) + len(middle)) / data.RATE


def shown(result: dict, start: float, end: float, synthetic: bool) -> bool:
    parts = [(p["start_s"], p["end_s"]) for p in result["synthetic_parts"]]
    if not synthetic:  # what lies between the parts
        edges = [0.0, *[t for p in parts for t in p], result["duration_s"]]
        parts = list(zip(edges[::2], edges[1::2]))
    return any(abs(a - start) <= WINDOW_S and abs(b - end) <= WINDOW_S for a, b in parts)


def one(rng: np.random.Generator, args: argparse.Namespace, by: dict, label: int, stretch: float, number: int) -> dict:
    root = data.root_of(args.set)
    enough = sorted(s for s, clips in by.items() if len(clips[label]) >= 10)
    source = enough[number % len(enough)]
    other = by[source][1 - label]
    if len(other) * 3.5 < stretch or not other:
        rest = sorted(s for s, clips in by.items() if len(clips[1 - label]) * 3.5 >= max(stretch, 1))
        other = by[rest[int(rng.integers(len(rest)))]][1 - label]
    samples, start, end = splice(rng, root, by[source][label], other, stretch)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        import soundfile

        soundfile.write(file.name, np.clip(samples, -1, 1), data.RATE)
        done = subprocess.run([str(args.program), "detect", "--json", "--jobs", "1", file.name], capture_output=True, text=True)
    result = json.loads(done.stdout)
    same = other is by[source][1 - label]
    return {"label": label, "stretch": stretch, "source": source, "same": same, "number": number, "start": start, "end": end, **{k: result[k] for k in ("verdict", "llr", "threshold", "reasons", "timeline", "synthetic_parts", "duration_s")}}


def share(hits: list[bool]) -> str:
    low, high = evaluate.wilson(sum(hits), len(hits))
    return f"{100 * np.mean(hits):.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def report(found: list[dict]) -> None:
    print("| whole | stretch | recordings | verdict human | verdict synthetic | remark | shown | minutes |\n|---|---|---|---|---|---|---|---|")
    for label, name in ((0, "human"), (1, "synthetic")):
        for stretch in STRETCHES:
            rows = [r for r in found if r["label"] == label and r["stretch"] == stretch]
            if not rows:
                continue
            remark = share([any(x["code"] in ("synthetic_parts", "disagreement") for x in r["reasons"]) for r in rows])
            placed = share([shown(r, r["start"], r["end"], label == 0) for r in rows]) if stretch else "-"
            verdicts = [share([r["verdict"] == v for r in rows]) for v in ("human", "synthetic")]
            print(f"| {name} | {stretch or 'none'} | {len(rows)} | {verdicts[0]} | {verdicts[1]} | {remark} | {placed} | {sum(r['duration_s'] for r in rows) / 60:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="manifest.tsv")
    parser.add_argument("--program", type=Path, default=Path("build/sonde"))
    parser.add_argument("--split", default="valid")
    parser.add_argument("--each", type=int, default=60, help="recordings of every kind")
    parser.add_argument("--stretch", type=int, nargs="*", default=STRETCHES, help="seconds; 0 for none")
    parser.add_argument("--keep", type=Path, help="write what was found, with timelines, as JSON lines")
    args = parser.parse_args()
    by: dict = defaultdict(lambda: ([], []))
    for clip in data.read_set(args.set):
        if clip.split == args.split:
            by[clip.source][clip.spoof].append(clip)
    found = [json.loads(line) for line in open(args.keep)] if args.keep and args.keep.exists() else []
    done = {(r["label"], r["stretch"], r["number"]) for r in found}
    for number in range(args.each):
        for label in (0, 1):
            for stretch in args.stretch:
                if (label, stretch, number) in done:
                    continue
                found.append(one(np.random.default_rng([label, stretch, number]), args, by, label, stretch, number))
                if args.keep:
                    with open(args.keep, "a") as out:
                        out.write(json.dumps(found[-1]) + "\n")
    report(found)


if __name__ == "__main__":
    main()
