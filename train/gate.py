"""Finds the weights by which the program tells speech from music and noise, and says what they do.

    python3 -m train.gate MANIFEST --music FOLDER [--test PACKAGE ...] [--measure] [--dump build/tests/unit/gate_dump]
    python3 -m train.gate MANIFEST --music FOLDER [--test PACKAGE ...] --numbers --model MODEL

FOLDER has one folder of instrumental music for each package or album; those named by --test are only measured on. Speech is
the clips of MANIFEST (`train` chooses, `valid` is only measured on), cut or joined to 2 to 30 s; noises are made here. All of
it goes through codecs, a telephone line, noise and rooms alike. Logistic regression; for each duration the limit is the
highest score of all but LOST of the training speech, in the worst of the conditions. The features are the program's own
(tests/unit/detect/gate_dump.c); they do not depend on the detector's weights, so a new model needs no new gate.

With --numbers it finds the second gate's weights, on what the model's second network looks at, and writes them and their
limit into MODEL: least squares with a ridge, the limit by speech whose source had no part (three folds). FOLDER may be
train.music's: what these numbers tell of music carries over to instruments that they were not found on.
"""
from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import threading
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Iterator

import numpy as np
from scipy import signal

from . import data, robust, safetensors, sounds

RATE = data.RATE
SECONDS = (2, 4, 8, 16, 30)
CONDITIONS = ("clean", "coded", "phone", "noise", "room", "clipped", "loud noise")
LOST = 0.003
LEAST = (-9.0, -9.0, 0.0, 0.0, -0.5)  # long recordings of training are too few for lower limits
FIRST = 11  # of the texture, after seconds, speech, tones and eight means
NUMBERS = FIRST + 169  # of the second network's
RIDGE, UNIT, FOLDS = 0.3, 10.0, 3  # speech is told to be -UNIT, all else UNIT
AUDIO = {".ogg", ".opus", ".mp3", ".flac", ".wav", ".wv", ".it", ".xm", ".mod"}
Piece = tuple[dict, np.ndarray]


def phone(x: np.ndarray) -> np.ndarray:
    """8 kHz, 250 to 3,500 Hz, G.711 µ-law."""
    y = signal.sosfilt(signal.butter(4, [250, 3500], "band", fs=8000, output="sos"), signal.resample_poly(x, 1, 2))
    y = np.clip(y, -1, 1)
    code = np.round(127 * np.sign(y) * np.log1p(255 * np.abs(y)) / np.log(256)) / 127
    return signal.resample_poly(np.sign(code) * (256 ** np.abs(code) - 1) / 255, 2, 1)[: len(x)]


def noisy(rng: np.random.Generator, x: np.ndarray, below: float = 15) -> np.ndarray:
    """With white, pink or brown noise, as robust.noise has it."""
    return robust.noise(rng, x, below, rng.choice([0.0, 0.5, 1.0]))


def changed(rng: np.random.Generator, x: np.ndarray, condition: str) -> np.ndarray:
    if condition == "phone":
        x = phone(x)
    elif condition == "noise":
        x = noisy(rng, x)
    elif condition == "loud noise":
        x = noisy(rng, x, rng.uniform(5, 12))
    elif condition == "clipped":
        x = robust.clipped(x, rng.uniform(3, 20))
    elif condition == "room":
        x = robust.room(rng, x)
    return (np.clip(np.round(x * 32767), -32768, 32767) / 32768).astype(np.float32)


def speech(cache: data.Cache, split: str, seconds: int, seed: int, conditions: tuple[str, ...], most: int) -> Iterator[Piece]:
    """Clips, cuts of 2 s, or clips of one source and label in a row."""
    rng = np.random.default_rng([seed, seconds, zlib.crc32(split.encode())])
    rows: dict = defaultdict(list)
    for i in rng.permutation([i for i, c in enumerate(cache.clips) if c.split == split]):
        clip = cache.clips[i]
        rows[(clip.source, clip.label) if seconds > 4 else int(i)].append(int(i))
    made = 0
    for members in rows.values():
        while members and made < most:
            condition = str(rng.choice(conditions))
            first, parts, length = cache.clips[members[0]], [], 0
            while members and (not parts or (seconds > 4 and length < seconds * RATE)):
                i = members.pop()
                parts.append(cache.samples(i, int(rng.integers(1, len(cache.copies))) if condition == "coded" else 0) / np.float32(32768))
                length += len(parts[-1])
            x = np.concatenate(parts)
            if length < (0.8 * seconds if seconds != 4 else 2) * RATE:
                continue
            start = int(rng.integers(0, max(1, length - seconds * RATE))) if seconds == 2 else 0
            made += 1
            yield {"kind": "speech", "label": first.label, "group": first.source, "s": seconds, "condition": condition}, changed(rng, x[start : start + seconds * RATE], condition)


def coded(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    chains = data.recipes()
    weight = np.array([w for _, w, _ in chains])
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "x.raw"
        (np.clip(x, -1, 1) * 32767).astype(np.int16).tofile(raw)
        for step in chains[int(rng.choice(len(chains), p=weight / weight.sum()))][2]:
            data.run_step(raw, step)
        return np.fromfile(raw, np.int16) / np.float32(32768)


def music(folder: Path, packages: list[str], pieces: dict[int, int]) -> Iterator[Piece]:
    for package in packages:
        for path in sorted(p for p in (folder / package).rglob("*") if p.suffix.lower() in AUDIO and p.stat().st_size > 120_000):
            rng = np.random.default_rng(zlib.crc32(str(path.relative_to(folder)).encode()))
            raw = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-ss", "4", "-t", "110", "-i", str(path), "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"], capture_output=True).stdout
            x = np.frombuffer(raw[: len(raw) // 2 * 2], np.int16) / np.float32(32768)
            if len(x) < 10 * RATE:
                continue
            through = coded(rng, x[: 50 * RATE]) if rng.random() < 0.3 else x
            for seconds, count in pieces.items():
                for _ in range(count):
                    condition = str(rng.choice(CONDITIONS))
                    y = through if condition == "coded" else x
                    if len(y) <= (seconds + 1) * RATE:
                        continue
                    start = int(rng.integers(0, len(y) - seconds * RATE))
                    y = y[start : start + seconds * RATE]
                    if np.abs(y).max() > 3e-3 and (np.abs(y) < 1e-4).mean() < 0.5:
                        yield {"kind": "music", "group": package, "s": seconds, "condition": condition}, changed(rng, y, condition)


def noises(seed: int, count: int) -> Iterator[Piece]:
    rng = np.random.default_rng(seed)
    for name, make in sounds.MOVING.items():
        for seconds in SECONDS:
            for _ in range(count if seconds < 16 else max(1, count // 3)):
                x = make(rng, seconds * RATE)
                condition = str(rng.choice(["clean", "phone", "room"]))
                yield {"kind": "noise", "group": name, "s": seconds, "condition": condition}, changed(rng, x / np.abs(x).max() * 10 ** (-rng.uniform(0, 30) / 20), condition)


def measure(args: argparse.Namespace, pieces: Iterator[Piece]) -> tuple[list[dict], np.ndarray]:
    program = subprocess.Popen([str(args.dump), str(args.model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    about: list[dict] = []

    def feed() -> None:
        for what, x in pieces:
            about.append(what)
            program.stdin.write(np.uint32(len(x)).tobytes() + x.astype(np.float32).tobytes())
        program.stdin.close()

    thread = threading.Thread(target=feed)
    thread.start()
    out = np.frombuffer(program.stdout.read(), np.float32)
    thread.join()
    if program.wait() or not about:
        raise SystemExit("gate_dump failed, or there was nothing to measure")
    return about, out.reshape(len(about), -1)


def regression(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    x = np.c_[x, np.ones(len(x))]
    out, penalty = np.zeros(x.shape[1]), ridge * np.eye(x.shape[1])
    penalty[-1, -1] = 0
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(x @ out, -30, 30)))
        slope = x.T @ (weight * (p - y)) + penalty @ out
        out -= np.linalg.solve((x * (weight * np.maximum(p * (1 - p), 1e-5))[:, None]).T @ x + penalty, slope)
    return out


def weighed(kind: np.ndarray) -> np.ndarray:
    """Speech, and what is none, count the same; music a little more than noise."""
    weight = np.zeros(len(kind))
    for name, share in (("speech", 0.5), ("music", 0.35), ("noise", 0.15)):
        weight[kind == name] = share * len(kind) / max(1, (kind == name).sum())
    return weight


def fit(about: list[dict], rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of the features as they are, and the bias."""
    kind = np.array([a["kind"] for a in about])
    x = rows[:, 3:NUMBERS].astype(np.float64)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    found = regression((x - mean) / spread, (kind != "speech").astype(float), weighed(kind))
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ mean)


def fit_numbers(about: list[dict], rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of the numbers as they are, and the limit of their sum."""
    kind, seconds = np.array([a["kind"] for a in about]), np.array([a["s"] for a in about])
    x = rows[:, NUMBERS:]
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / spread
    alike = x @ x.T / x.shape[1] + 1.0  # the dual problem: fewer pieces than numbers; the 1 is the bias
    target, ridge = np.where(kind == "speech", -UNIT, UNIT), RIDGE / weighed(kind)

    def solved(chosen: np.ndarray) -> np.ndarray:
        return np.linalg.solve(alike[np.ix_(chosen, chosen)].astype(np.float64) + np.diag(ridge[chosen]), target[chosen])

    fold = np.array([(zlib.crc32(a["group"].encode()) if a["kind"] == "speech" else n) % FOLDS for n, a in enumerate(about)])
    score = np.zeros(len(about))
    for n in range(FOLDS):
        others = np.flatnonzero(fold != n)
        score[fold == n] = alike[np.ix_(fold == n, others)] @ solved(others)
    quiet = np.array([a["kind"] == "speech" and a["condition"] != "loud noise" for a in about])
    # Longer recordings lie farther off; but speech over music does not, and is to have its answer.
    limit = max(float(np.quantile(score[quiet & (seconds == s)], 1 - LOST)) for s in (2, 4))
    dual = solved(np.arange(len(about)))
    weights = (x.T @ dual) / x.shape[1] / spread
    return weights.astype(np.float32), limit - float(dual.sum() - weights @ mean)


def write_numbers(path: Path, weights: np.ndarray, limit: float) -> None:
    tensors, metadata = safetensors.load(path)
    safetensors.save(path, {**tensors, "gate.weight": weights}, {**metadata, "gate_limit": f"{limit:.4f}"})


def limits(about: list[dict], rows: np.ndarray, score: np.ndarray) -> list[tuple[int, float]]:
    found = []
    for seconds in SECONDS:
        worst = -np.inf
        for condition in CONDITIONS[:-1]:  # in loud noise there is no answer for long
            here = np.array([a["kind"] == "speech" and a["s"] == seconds and a["condition"] == condition for a in about]) & (rows[:, 1] >= 0.2)
            if here.sum() >= 50:
                worst = max(worst, float(np.quantile(score[here], 1 - LOST)))
        found.append((seconds, max(worst, LEAST[SECONDS.index(seconds)])))
    for n in range(len(found) - 2, -1, -1):  # a longer recording never needs more
        found[n] = (found[n][0], max(found[n][1], found[n + 1][1]))
    return found


def write(path: Path, weights: np.ndarray, bias: float, found: list[tuple[int, float]]) -> None:
    def table(values: np.ndarray) -> str:
        text = [f"{v:.9g}" for v in values]
        return "\n".join("    " + ", ".join(text[n : n + 6]) + "," for n in range(0, len(text), 6))

    path.write_text(
        "/* Written by `python3 -m train.gate`; of speech, music and noise as docs/detector.md says. */\n"
        f"static const double bias = {bias:.9g};\n"
        f"static const double music_weights[] = {{\n{table(weights[: FIRST - 3])}\n}};\n"
        f"static const double window_weights[] = {{\n{table(weights[FIRST - 3 :])}\n}};\n"
        "static const struct {\n    double seconds, score;\n} limits[] = {\n" + "".join(f"    {{{s}, {v:.4f}}},\n" for s, v in found) + "};\n"
    )


def read(path: Path) -> tuple[np.ndarray, float, list[tuple[float, float]]]:
    """What `write` wrote."""
    text = path.read_text()
    table = lambda name: [float(v) for v in re.search(name + r"\[\] = {(.*?)};", text, re.S)[1].replace("\n", "").rstrip(" ,").split(",")]  # noqa: E731
    pairs = re.findall(r"{([-\d.]+), ([-\d.]+)},", text[text.index("limits[]") - 40 :])
    return np.array(table("music_weights") + table("window_weights")), float(re.search(r"bias = ([-\d.e]+)", text)[1]), [(float(a), float(b)) for a, b in pairs]


def refused(rows: np.ndarray, texture: tuple[np.ndarray, float, list[tuple[float, float]]], model: Path) -> np.ndarray:
    """Where gate_margin() is 0 or more."""
    weights, bias, found = texture
    tensors, metadata = safetensors.load(model)
    seconds, means = rows[:, 0], rows[:, 3:FIRST]
    stays = 4.572 + means @ (0, 2.186, -0.406, 11.73, -4.763, -2.406, 0.120, 0.535)
    out = (rows[:, 3:NUMBERS] @ weights + bias >= np.interp(seconds, *zip(*found))) | (stays >= np.interp(seconds, (6.5, 16), (5.5, 3.0)))
    if "gate.weight" in tensors:
        out |= rows[:, NUMBERS:] @ tensors["gate.weight"] >= float(metadata["gate_limit"])
    return out


def report(about: list[dict], rows: np.ndarray, no_speech: np.ndarray, title: str) -> None:
    """Of every kind, by seconds: pieces, and how many the gate refuses; where it is to refuse, those with under 1.5 s of speech, too."""
    taken: dict = defaultdict(lambda: [0, 0, 0])
    for a, row, beyond in zip(about, rows, no_speech):
        names = [a.get("label", "all " + a["kind"]), f"{a['kind']}, {a['condition']}" if a["kind"] == "speech" else f"{a['kind']}: {a['group']}"]
        for name in names:
            cell = taken[(name, a["s"])]
            cell[0] += 1
            cell[1] += row[1] >= 0.2 and beyond
            cell[2] += row[1] < 1.5 or row[2] >= 0.7 or beyond
    print(f"\n{title}\n| | " + " | ".join(f"{s} s" for s in SECONDS) + " |\n|---" * 1 + "|---" * len(SECONDS) + "|")
    for name in sorted({n for n, _ in taken}):
        cells = [taken.get((name, s)) for s in SECONDS]
        print(f"| {name} | " + " | ".join(f"{c[1]}, {c[2]} of {c[0]}" if c else "-" for c in cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="manifest.tsv, or a folder with bonafide/ and spoof/")
    parser.add_argument("--music", type=Path, required=True)
    parser.add_argument("--test", nargs="*", default=[], help="packages of music that are only measured on")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    parser.add_argument("--dump", type=Path, default=Path("build/tests/unit/gate_dump"))
    parser.add_argument("--model", type=Path, default=Path("models/sonde-8.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("src/detect/gate_weights.inc"))
    parser.add_argument("--numbers", action="store_true", help="the second gate, whose weights go into --model")
    parser.add_argument("--measure", action="store_true", help="only measure what the weights in --out and --model do")
    args = parser.parse_args()
    cache = data.build(args.set, args.cache)
    packages = sorted(p.name for p in args.music.iterdir() if p.is_dir())

    def chosen() -> Iterator[Piece]:
        for seconds, most in zip(SECONDS, (1800, 3500, 900, 400, 250) if args.numbers else (1200, 2500, 900, 400, 250)):
            yield from speech(cache, "train", seconds, 1, CONDITIONS, most)
        yield from noises(3, 40 if args.numbers else 12)
        yield from music(args.music, [p for p in packages if p not in args.test], {2: 2, 4: 3, 8: 4, 16: 2, 30: 1})

    if not args.measure:
        about, rows = measure(args, chosen())
        audible = rows[:, 1] >= 0.2  # the rest has no speech for the program in any case
        heard = [a for a, ok in zip(about, audible) if ok]
        if args.numbers:
            weights, limit = fit_numbers(heard, rows[audible])
            write_numbers(args.model, weights, limit)
            print(f"limit: {limit:.2f}")
        else:
            weights, bias = fit(heard, rows[audible])
            found = limits(about, rows, rows[:, 3:NUMBERS] @ weights + bias)
            write(args.out, weights, bias, found)
            print("limits:", ", ".join(f"{v:.2f} up to {s} s" for s, v in found))
        report(about, rows, refused(rows, read(args.out), args.model), "chosen on (taken for no speech; and with those that have no verdict for want of speech)")

    def confirmed() -> Iterator[Piece]:
        for seconds, most in zip(SECONDS, (250, 250, 60, 30, 15)):
            for n, condition in enumerate(CONDITIONS):
                yield from speech(cache, "valid", seconds, 50 + n, (condition,), most)
        yield from noises(77, 6)
        yield from music(args.music, [p for p in packages if p in args.test], {2: 1, 4: 2, 8: 2, 16: 1, 30: 1})

    about, rows = measure(args, confirmed())
    report(about, rows, refused(rows, read(args.out), args.model), "only measured on")


if __name__ == "__main__":
    main()
