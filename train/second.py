"""Trains the second network: python3 -m train.second SET OUT.pt [--first CHECKPOINT.pt].

It judges a window by the numbers of detail.py; its logit and the first
network's are added. The numbers do not change with the weights, so they are
worked out once, of three kinds of draws, and kept; the training itself then takes minutes:

    gentle   a clip as it is or through a codec, half of the narrow-band ones as the program hears files at 8 kHz;
             some are cut short, most play a little faster or slower
    noisy    the same, neither cut nor faster, in noise of 5 to 20 dB, some of it in a room
    rough    draws as train.py makes them, for the first network

Several networks are trained that differ in their seed, and their mean is written as
one: side by side they are one wider network. With --first, the figures of both together are
measured too, and both go into OUT.pt.

Then the same once more in --folds parts: each source's clips are judged by networks that were
trained on the sources of the other parts. These scores go into OUT.pt too, and train.export takes
calibration and threshold from them, so that neither has seen a clip of the validation set.
"""
from __future__ import annotations

import argparse
import json
import time
import zlib
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from scipy import fft, signal
from torch.nn import functional as F

from . import augment, data, engine, env, evaluate, frontend, model, resample, train

SMOOTHING = 0.05
SHORT, SHORT_SECONDS = 0.25, (1.2, 3.5)  # share of gentle draws that are cut, and to what
FASTER, PACE = 0.6, (64, (59, 70))  # share of them that is resampled, by 64 over 59 to 69
AS_PROGRAM = 0.5  # share of the narrow-band copies that are made to sound like files at 8 kHz
NOISY_SEED, NOISY_DB, NOISY_ROOM = 1000, (5, 20), 0.3
SHARES = {"gentle": 0.7, "noisy": 0.1, "rough": 0.2}  # of a batch
# How much more often than by their sources' sizes: there are few clips of them, and their systems are the hardest to hear.
WEIGHTS = {"codec": 2.0, "vocoder": 1.5}


SHARED: dict = {}  # what the processes of a pool take over from their parent


class Draws(train.Draws):
    """Gentle, noisy and rough draws by number; even ones are human, odd ones synthetic, and half of the pairs of one source."""

    def clip(self, n: int, seed: int) -> tuple[np.random.Generator, np.ndarray]:
        rng, clip, copy, _ = self.pick(n, seed)
        x = self.cache.samples(clip, copy).astype(np.float32) / 32768
        if copy and np.random.default_rng([seed, n, 2]).random() < AS_PROGRAM and resample.narrow(x):
            x = resample.as_program(x)
        return rng, x

    @staticmethod
    def window(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        starts = frontend.window_starts(len(x))
        start = starts[rng.integers(len(starts))]
        return frontend.fill(np.ascontiguousarray(x[start : start + frontend.WINDOW], np.float32))

    def gentle(self, n: int) -> np.ndarray:
        rng, x = self.clip(n, self.seed)
        if rng.random() < SHORT:
            want = int(rng.uniform(*SHORT_SECONDS) * data.RATE)
            if want < len(x):
                start = rng.integers(0, len(x) - want + 1)
                x = x[start : start + want]
        if rng.random() < FASTER:
            x = signal.resample_poly(x, PACE[0], int(rng.integers(*PACE[1])))
        return engine.numbers(self.window(rng, x))

    def noisy(self, n: int) -> np.ndarray:
        rng, x = self.clip(n, self.seed + NOISY_SEED)
        x = self.window(rng, x)
        noise, _ = self.augmenter.noise(rng, self.babble)
        power = float(np.mean(x * x)) + 1e-9
        y = x + noise * np.float32(np.sqrt(power) * 10 ** (-rng.uniform(*NOISY_DB) / 20))
        if rng.random() < NOISY_ROOM:
            y = fft.irfft(fft.rfft(y, augment.SIZE) * augment.room(rng), augment.SIZE)[: frontend.WINDOW].astype(np.float32)
        return engine.numbers(y)

    def rough(self, n: int) -> np.ndarray:
        rng, clip, copy, _ = self.pick(n, self.seed)
        return engine.numbers(self.augmenter.wave(rng, self.cache.samples(clip, copy), self.babble))

    def known(self, kind: str, n: int, folds: int) -> tuple[int, float]:
        """The part that draw n's source is of, and the draw's weight."""
        clip = self.cache.clips[self.pick(n, self.seed + (NOISY_SEED if kind == "noisy" else 0))[1]]
        return part(clip.source, folds), WEIGHTS.get(clip.kind, 1.0)


def part(source: str, folds: int) -> int:
    return zlib.crc32(source.encode()) % folds


def one_draw(job: tuple[str, int]) -> np.ndarray:
    return getattr(SHARED["draws"], job[0])(job[1])


def one_clip(job: tuple[int, int]) -> np.ndarray:
    samples = SHARED["cache"].samples(*job).astype(np.float32) / 32768
    return np.stack([engine.numbers(w) for w in frontend.windows(samples)])


def drawn(draws: Draws, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The numbers of all draws, [count, detail.COUNT] by kind; from --work, if they are there."""
    args.work.mkdir(parents=True, exist_ok=True)
    SHARED["draws"], rows = draws, {}
    for kind in ("gentle", "noisy", "rough"):
        kept, count = args.work / f"{args.out.stem}-{kind}.npy", getattr(args, kind)
        if not kept.exists():
            unfinished = kept.with_suffix(".part")
            table = np.lib.format.open_memmap(unfinished, "w+", np.float32, (count, detail.COUNT))
            with Pool(args.processes) as pool:
                for n, row in enumerate(pool.imap(one_draw, ((kind, n) for n in range(count)), chunksize=64)):
                    table[n] = row
            table.flush()
            unfinished.rename(kept)
        rows[kind] = torch.from_numpy(np.load(kept, mmap_mode="c"))  # never written to, but torch asks for memory that could be
    return rows


class Clips:
    """The windows of some clips, in the order of evaluate.Windows."""

    def __init__(self, cache: data.Cache, members: list[int], copy: int, processes: int = 2) -> None:
        SHARED["cache"] = cache
        with Pool(processes) as pool:
            rows = pool.map(one_clip, [(i, copy) for i in members], chunksize=16)
        self.rows = torch.from_numpy(np.concatenate(rows))
        self.owner = np.repeat(np.arange(len(members)), [len(r) for r in rows])
        self.label = np.array([cache.clips[i].spoof for i in members])
        self.source = np.array([cache.clips[i].source for i in members])

    def scores(self, net: model.Detail) -> np.ndarray:
        with torch.no_grad():
            logits = net.eval()(self.rows).numpy()
        return np.bincount(self.owner, logits) / np.bincount(self.owner)


def fit(rows: dict[str, torch.Tensor], chances: dict[str, np.ndarray], args: argparse.Namespace, seed: int) -> model.Detail:
    """Rows are human and synthetic in turn; `chances` are the pairs' to be drawn, added up, by kind."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 7])
    net, mean = model.Detail(tuple(args.hidden), args.dropout), model.Detail(tuple(args.hidden))
    net.mean.copy_(rows["rough"].mean(dim=0))
    net.scale.copy_(1 / (rows["rough"].std(dim=0) + 1e-4))
    mean.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.decay)
    for step in range(args.steps):
        inputs = []
        for kind, share in SHARES.items():
            even = 2 * torch.from_numpy(np.searchsorted(chances[kind], rng.random(round(args.batch * share / 2)), side="right"))
            inputs.append(rows[kind][torch.stack([even, even + 1], dim=1).ravel()])
        for group in optimiser.param_groups:
            group["lr"] = train.rate(step / args.steps, args.lr)
        batch = torch.cat(inputs)
        target = torch.arange(len(batch)).remainder(2).float() * (1 - 2 * SMOOTHING) + SMOOTHING
        loss = F.binary_cross_entropy_with_logits(net(batch), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for a, b in zip(mean.parameters(), net.parameters()):
                a.lerp_(b, 1 - min(0.99, (1 + step) / (10 + step)))
    return mean.eval()


def chances_without(left_out: int) -> dict[str, np.ndarray]:
    """Of every pair of draws, added up; none for those of which one is of that part. -1: of all."""
    chances = {}
    for kind, known in SHARED["known"].items():
        pairs = known.reshape(-1, 2, 2)
        chances[kind] = np.cumsum(pairs[:, 1, 1] * (pairs[:, :, 0] != left_out).all(1))
        if not chances[kind][-1]:
            raise SystemExit("too few sources to leave a part of them out; add sources, or try another --folds")
        chances[kind] /= chances[kind][-1]
    return chances


def one_net(job: tuple[argparse.Namespace, int, int]) -> model.Detail:
    args, seed, left_out = job
    return fit(SHARED["rows"], chances_without(left_out), args, seed)


def known_of(job: tuple[str, int, int]) -> tuple[int, float]:
    kind, n, folds = job
    return SHARED["draws"].known(kind, n, folds)


def stack(nets: list[model.Detail], weight: float) -> model.Detail:
    """One network whose logit is `weight` times the mean of theirs; all have the same mean and scale."""
    whole = model.Detail(tuple(len(nets) * n for n in (nets[0].fc1.out_features, nets[0].fc2.out_features)))
    with torch.no_grad():
        whole.mean.copy_(nets[0].mean)
        whole.scale.copy_(nets[0].scale)
        for layer, join in (("fc1", lambda parts: torch.cat(parts)), ("fc2", lambda parts: torch.block_diag(*parts)), ("fc3", lambda parts: torch.cat(parts, dim=1) * (weight / len(parts)))):
            getattr(whole, layer).weight.copy_(join([getattr(n, layer).weight for n in nets]))
        for layer in ("fc1", "fc2"):
            getattr(whole, layer).bias.copy_(torch.cat([getattr(n, layer).bias for n in nets]))
        whole.fc3.bias.copy_(torch.stack([n.fc3.bias for n in nets]).mean(dim=0) * weight)
    return whole.eval()


def out_of_fold(cache: data.Cache, members: list[int], nets: list[model.Detail], processes: int) -> dict[str, np.ndarray]:
    """Each clip's score by the network that was trained without its source's part."""
    clips = Clips(cache, members, 0, processes)
    of = np.array([part(source, len(nets)) for source in clips.source])
    return {"scores": np.choose(of, [clips.scores(net) for net in nets]), "label": clips.label, "source": clips.source}


def report(scores: np.ndarray, label: np.ndarray, source: np.ndarray) -> dict[str, float]:
    return {**evaluate.figures(*evaluate.split(scores, label)), "auc_within_sources": evaluate.within(scores, label, source)}


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cache = data.build(args.set, args.cache, args.seed, args.processes)
    held = set(args.hold_out or [])
    members = [i for i, c in enumerate(cache.clips) if c.split == "train" and c.source not in held]
    SHARED["rows"] = rows = drawn(Draws(cache, members, args.seed, args.strength, args.pairs, args.old), args)
    began = time.monotonic()
    with Pool(args.processes) as pool:
        SHARED["known"] = {k: np.array(pool.map(known_of, [(k, n, args.folds) for n in range(len(r))], chunksize=1024)) for k, r in rows.items()}
    for left_out in range(args.folds):
        chances_without(left_out)  # or it ends here, before the work
    jobs = [(args, args.seed + n, left_out) for left_out in range(-1, args.folds) for n in range(args.nets if left_out < 0 else args.fold_nets)]
    with Pool(args.processes) as pool:
        nets = pool.map(one_net, jobs, chunksize=1)
    of = [left_out for *_, left_out in jobs]
    net, *parts = (stack([n for n, which in zip(nets, of) if which == left_out], args.weight) for left_out in range(-1, args.folds))
    spent = time.monotonic() - began
    saved = torch.load(args.first) if args.first else {}
    first = model.Detector()
    if args.first:
        first.load_state_dict(saved["ema"])
    arguments = {k: v.name if isinstance(v, Path) else v for k, v in vars(args).items() if k not in ("set", "cache", "work")}
    record = {"arguments": arguments, "train_clips": len(members), "minutes": round(spent / 60, 1), "parameters": sum(p.numel() for p in net.parameters()), "numbers_by": "engine" if engine.ENGINE else "numpy", "figures": {}}
    for name, chosen in (("valid", [i for i, c in enumerate(cache.clips) if c.split == "valid"]), ("held_out", [i for i, c in enumerate(cache.clips) if c.source in held])):
        for copy in range(2 if chosen else 0):
            clips = Clips(cache, chosen, copy, args.processes)
            scores = {"second": clips.scores(net)}
            if args.first:
                scores["first"] = evaluate.Windows(cache, chosen, copy).scores(first, quick=True)
                scores["sum"] = scores["first"] + scores["second"]
            for which, values in scores.items():
                entry = report(values, clips.label, clips.source)
                record["figures"][f"{name}{'_coded' if copy else ''} {which}"] = entry
                print(f"{name} copy {copy} {which}: {entry}", flush=True)
    fold = out_of_fold(cache, members, parts, args.processes)
    record["figures"]["out_of_fold second"] = report(**fold)
    print(f"out of fold: {report(**fold)}", flush=True)
    saved.update(detail=net.state_dict(), detail_run=record, out_of_fold=fold)
    train.save(args.out, saved)
    (train.RUNS / f"{args.out.stem}.json").write_text(json.dumps(record, indent=1) + "\n")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="Train the second network, on detail.py's numbers.")
    p.add_argument("set", type=Path, help="manifest.tsv, or a folder with bonafide/ and spoof/")
    p.add_argument("out", type=Path, help="checkpoint to write; its name without .pt is the record's")
    p.add_argument("--first", type=Path, help="checkpoint of the first network")
    p.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    p.add_argument("--work", type=Path, default=Path("~/.cache/sonde-train/work").expanduser(), help="where the draws' numbers are kept; remove them to draw again")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--gentle", type=int, default=192000, help="draws of the kind, an even number; so are the next two")
    p.add_argument("--noisy", type=int, default=48000)
    p.add_argument("--rough", type=int, default=48000)
    p.add_argument("--steps", type=int, default=2500)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--decay", type=float, default=0.1)
    p.add_argument("--hidden", type=int, nargs=2, default=(64, 32))
    p.add_argument("--nets", type=int, default=6, help="trained side by side and averaged")
    p.add_argument("--folds", type=int, default=5, help="parts of the sources for the calibration's scores")
    p.add_argument("--fold-nets", type=int, default=2, help="--nets without each of them")
    p.add_argument("--dropout", type=float, default=0.2)
    p.add_argument("--weight", type=float, default=8.0, help="of the mean logit in the sum with the first network's")
    p.add_argument("--strength", type=float, default=1.0)
    p.add_argument("--pairs", type=float, default=0.5)
    p.add_argument("--old", type=float, default=2.0)
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--hold-out", nargs="*", help="sources to train without and to evaluate on, beside valid")
    return p


def main() -> None:
    args = parser().parse_args()
    env.tune("train.second", 1)
    run(args)


if __name__ == "__main__":
    main()
