"""Speech of one kind with a stretch of the other in it: how often the program shows it.

    python3 -m train.splice MANIFEST --program build/sonde [--split valid] [--each 60] [--seed 1] [--keep FILE]

Long recordings (2 to 10 minutes, the long ones rarer) are clips of one source and label in a row, at one level; a source
with too little of them says them again. Into one gap goes a stretch of the other label, of the same source where it has enough.
"in its place" is a remark whose stretch begins and ends within one window (3.86 s) of where that one does; "shown" is a part of
`synthetic_parts` that does so; for human stretches in synthetic speech it is a gap between parts. Nothing is written but temporary files; --keep saves all
timelines, and what it holds is not made again.
"""
from __future__ import annotations

import argparse
import functools
import json
import subprocess
import tempfile
from collections import defaultdict
from multiprocessing import Pool
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


def near(span: tuple[float, float], result: dict) -> bool:
    return abs(span[0] - result["start"]) <= WINDOW_S and abs(span[1] - result["end"]) <= WINDOW_S


def remark(result: dict) -> dict | None:
    return next((x for x in result["reasons"] if x["code"] in ("synthetic_parts", "disagreement")), None)


def shown(result: dict) -> bool:
    parts = [(p["start_s"], p["end_s"]) for p in result["synthetic_parts"]]
    if result["label"]:  # what lies between the parts
        edges = [0.0, *[t for p in parts for t in p], result["duration_s"]]
        parts = list(zip(edges[::2], edges[1::2]))
    return any(near(part, result) for part in parts)


SHARED: dict = {}  # what the processes of a pool take over from their parent


def one(job: tuple[int, int, int]) -> dict:
    (label, stretch, number), args, by = job, SHARED["args"], SHARED["by"]
    rng = np.random.default_rng([label, stretch, number, args.seed])
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
    print("| whole | stretch | recordings | verdict human | verdict synthetic | remark | in its place | shown | minutes |\n|---|---|---|---|---|---|---|---|---|")
    for label, name in ((0, "human"), (1, "synthetic")):
        for stretch in STRETCHES:
            rows = [r for r in found if r["label"] == label and r["stretch"] == stretch]
            if not rows:
                continue
            remarks = [remark(r) for r in rows]
            there = share([x is not None and near((x["start_s"], x["end_s"]), r) for x, r in zip(remarks, rows)]) if stretch else "-"
            placed = share([shown(r) for r in rows]) if stretch else "-"
            verdicts = [share([r["verdict"] == v for r in rows]) for v in ("human", "synthetic")]
            print(f"| {name} | {stretch or 'none'} | {len(rows)} | {verdicts[0]} | {verdicts[1]} | {share([x is not None for x in remarks])} | {there} | {placed} | {sum(r['duration_s'] for r in rows) / 60:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="manifest.tsv")
    parser.add_argument("--program", type=Path, default=Path("build/sonde"))
    parser.add_argument("--split", default="valid")
    parser.add_argument("--each", type=int, default=60, help="recordings of every kind")
    parser.add_argument("--stretch", type=int, nargs="*", default=STRETCHES, help="seconds; 0 for none")
    parser.add_argument("--seed", type=int, default=1, help="of what lies where")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="write what was found, with timelines, as JSON lines")
    args = parser.parse_args()
    by: dict = defaultdict(lambda: ([], []))
    for clip in data.read_set(args.set):
        if clip.split == args.split:
            by[clip.source][clip.spoof].append(clip)
    found = [json.loads(line) for line in open(args.keep)] if args.keep and args.keep.exists() else []
    done = {(r["label"], r["stretch"], r["number"]) for r in found}
    jobs = [(label, stretch, number) for number in range(args.each) for label in (0, 1) for stretch in args.stretch]
    SHARED.update(args=args, by=by)
    with Pool(args.processes) as pool:
        for row in pool.imap(one, [job for job in jobs if job not in done], chunksize=2):
            found.append(row)
            if args.keep:
                with open(args.keep, "a") as out:
                    out.write(json.dumps(row) + "\n")
    report(found)


if __name__ == "__main__":
    main()
