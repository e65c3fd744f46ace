"""Trains the detector: one seed, one thread, one run file.

What a step sees depends on the seed and the step's number alone, so a run can
stop and go on (`--resume`) without changing, and another machine draws the
same batches. Length is given in steps, or in minutes for a machine whose speed
is not known; then the schedule follows the clock, and the run file records how
many steps it came to. Checkpoints and curves are of the weights' running mean,
which is what gets exported.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from . import augment, data, env, evaluate, model, sampler

RUNS = Path(__file__).parent / "runs"


class Draws(Dataset):
    """Training input number `n` of an endless row, made from the seed and `n`."""

    def __init__(self, cache: data.Cache, members: list[int], seed: int, strength: float, pairs: float, old: float) -> None:
        self.cache, self.seed, self.pairs = cache, seed, pairs
        self.sampler = sampler.Sampler(cache.clips, members, old)
        self.augmenter = augment.Augmenter(seed, strength)
        self.human = [i for i in members if not cache.clips[i].spoof]

    def __len__(self) -> int:
        return 1 << 40

    def pick(self, n: int, seed: int) -> tuple[np.random.Generator, int, int, str | None]:
        """The draw's clip, which copy of it, the source it shares with its pair if it does, and what else it draws from."""
        both = np.random.default_rng([seed, n // 2, 1])  # what the two members of a pair agree on
        source = self.sampler.draw_source(both) if both.random() < self.pairs else None
        rng = np.random.default_rng([seed, n])
        clip = self.sampler.draw(rng, n % 2, source)
        copies = len(self.cache.copies) - 1
        copy = int(rng.integers(1, copies + 1)) if copies and rng.random() < 0.5 else 0
        return rng, clip, copy, source

    def babble(self, rng: np.random.Generator) -> np.ndarray:
        return self.cache.samples(self.human[rng.integers(len(self.human))])

    def __getitem__(self, n: int) -> tuple[np.ndarray, np.float32, int]:
        rng, clip, copy, source = self.pick(n, self.seed)
        y = self.augmenter(rng, self.cache.samples(clip, copy), self.babble)
        return y[None], np.float32(n % 2), self.sampler.shared.index(source) if source else -1


class Row(torch.utils.data.Sampler):
    """The numbers first, first + 1, ..."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self):
        n = self.first
        while True:
            yield n
            n += 1


def rate(progress: float, peak: float) -> float:
    """One cycle: a short rise, then a cosine to nearly nothing."""
    if progress < 0.03:
        return peak * (0.1 + 0.9 * progress / 0.03)
    return peak * max(1e-3, 0.5 * (1 + math.cos(math.pi * (progress - 0.03) / 0.97)))


class Sharpness:
    """Moves the weights to where the loss is worst nearby, and back.

    A step that uses the gradient found there seeks flat minima, which hold up
    better on sources that training has not seen (adaptive sharpness-aware
    minimisation; the reach of each weight grows with its size). It costs a
    second pass.
    """

    def __init__(self, net: torch.nn.Module, reach: float) -> None:
        self.reach = reach
        self.weights = [p for p in net.parameters() if p.dim() > 1]
        self.norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]

    @torch.no_grad()
    def climb(self) -> None:
        scaled = [p.grad * (p.abs() + 0.01) for p in self.weights]
        length = torch.sqrt(sum(s.square().sum() for s in scaled)) + 1e-12
        self.moves = [(p.abs() + 0.01) * s * (self.reach / length) for p, s in zip(self.weights, scaled)]
        for p, move in zip(self.weights, self.moves):
            p.add_(move)
        for norm in self.norms:  # the running statistics belong to the weights, not to the detour
            norm.momentum = 0.0

    @torch.no_grad()
    def descend(self) -> None:
        for p, move in zip(self.weights, self.moves):
            p.sub_(move)
        for norm in self.norms:
            norm.momentum = 0.1


class Reverse(torch.autograd.Function):
    """Passes values on and turns gradients round."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return -ctx.weight * gradient, None


class Adversary(torch.nn.Module):
    """Guesses a clip's source from what the pooling keeps of it.

    Its gradient reaches the network reversed, so that the network forgets what
    tells sources apart. Only draws in pairs count: there each source has as
    many human as synthetic clips, so forgetting it forgets nothing of the label.
    Not part of the exported model.
    """

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2 * model.CHANNELS[-1], 64), torch.nn.ReLU(), torch.nn.Linear(64, max(1, sources)))

    def forward(self, pooled: torch.Tensor, source: torch.Tensor, weight: float) -> torch.Tensor:
        return F.cross_entropy(self.layers(Reverse.apply(pooled, weight)), source, ignore_index=-1)


def save(path: Path, content: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    cache = data.build(args.set, args.cache, args.seed, args.processes)
    held = set(args.hold_out or [])
    members = [i for i, c in enumerate(cache.clips) if c.split == "train" and c.source not in held]
    valid = [i for i, c in enumerate(cache.clips) if c.split == "valid"] if not held else [i for i, c in enumerate(cache.clips) if c.source in held]
    if {cache.clips[i].spoof for i in valid} != {0, 1}:
        raise SystemExit("validation needs clips of both labels; add sources, or a split column")
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / f"{args.name}.pt"

    net = model.Detector(args.dropout).to(memory_format=torch.channels_last)
    mean = model.Detector()
    mean.load_state_dict(net.state_dict())
    if args.start:  # a curve of its own from weights that are there
        begin = torch.load(args.start)["ema"]
        net.load_state_dict(begin)
        mean.load_state_dict(begin)
    draws = Draws(cache, members, args.seed, args.strength, args.pairs, args.old)
    adversary = Adversary(len(draws.sampler.shared))
    decayed = [p for n, p in net.named_parameters() if p.dim() > 1]
    other = [p for n, p in net.named_parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": args.decay}, {"params": [*other, *adversary.parameters()], "weight_decay": 0.0}], lr=args.lr)
    step, progress, spent = 0, 0.0, 0.0
    arguments = {k: v.name if isinstance(v, Path) else v for k, v in vars(args).items() if k not in ("set", "cache", "work")}
    run: dict = {
        "arguments": arguments, "torch": torch.__version__, "train_clips": len(members), "valid_clips": len(valid),
        "copies": len(cache.copies) - 1, "parameters": sum(p.numel() for p in net.parameters()), "curve": [], "evaluations": [],
    }
    if args.resume and checkpoint.exists():
        old = torch.load(checkpoint)
        net.load_state_dict(old["model"])
        adversary.load_state_dict(old["adversary"])
        mean.load_state_dict(old["ema"])
        optimiser.load_state_dict(old["optimiser"])
        torch.set_rng_state(old["rng"])
        step, progress, spent, run = old["step"], old["progress"], old["spent"], old["run"]
        print(f"resumed at step {step}", flush=True)

    loader = iter(DataLoader(draws, args.batch, sampler=Row(step * args.batch), num_workers=args.workers, prefetch_factor=8))
    sets = {"valid": evaluate.Windows(cache, valid)}
    if len(cache.copies) > 1:
        sets["valid_coded"] = evaluate.Windows(cache, valid, 1)

    def checkpoint_now() -> None:
        save(checkpoint, {
            "model": net.state_dict(), "adversary": adversary.state_dict(), "ema": mean.state_dict(), "optimiser": optimiser.state_dict(), "rng": torch.get_rng_state(),
            "step": step, "progress": progress, "spent": spent, "run": run,
        })
        RUNS.mkdir(exist_ok=True)
        run.update(steps=step, minutes=round(spent / 60, 2), clips_per_second=round(step * args.batch / max(1e-9, spent), 1))
        (RUNS / f"{args.name}.json").write_text(json.dumps(run, indent=1) + "\n")

    def evaluate_now() -> None:
        entry: dict = {"step": step, "progress": round(progress, 4)}
        for name, windows in sets.items():
            scores = windows.scores(mean, quick=True)
            entry[name] = evaluate.figures(*evaluate.split(scores, windows.label))
            entry[name]["auc_within_sources"] = evaluate.within(scores, windows.label, windows.source)
        run["evaluations"].append(entry)
        save(args.work / f"{args.name}-{step}.pt", {"ema": mean.state_dict(), "step": step, "spent": spent, "run": run})
        print(json.dumps(entry), flush=True)

    def loss_of(x: torch.Tensor, target: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss to report, and the one to follow."""
        pooled: dict[str, torch.Tensor] = {}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not args.exact):
            logit = net(x.contiguous(memory_format=torch.channels_last), pooled=pooled)
        loss = F.binary_cross_entropy_with_logits(logit.float(), target)
        if args.adversary and bool((source >= 0).any()):
            weight = args.adversary * min(1.0, progress / 0.15)  # it has nothing to say before it has learnt
            return loss, loss + adversary(pooled["attn"], source, weight)
        return loss, loss

    sharpness = Sharpness(net, args.sharpness) if args.sharpness else None
    began = time.monotonic() - spent
    saved = time.monotonic()
    losses: list[float] = []
    net.train()
    while progress < 1.0:
        x, label, source = next(loader)
        # Short stretches show more clips in the same time and less of what is said; the end sees whole windows.
        if args.short and progress < 0.8:
            frames = (x.shape[3] // 2, x.shape[3] * 2 // 3, x.shape[3])[step % 3]
            first = int(torch.randint(0, x.shape[3] - frames + 1, ()))
            x = x[..., first : first + frames]
        for group in optimiser.param_groups:
            group["lr"] = rate(progress, args.lr)
        target = label * (1 - 2 * args.smoothing) + args.smoothing
        loss, total = loss_of(x, target, source)
        optimiser.zero_grad()
        total.backward()
        if sharpness:
            sharpness.climb()
            optimiser.zero_grad()
            loss_of(x, target, source)[1].backward()
            sharpness.descend()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        keep = min(args.ema, (1 + step) / (10 + step))  # early weights are soon forgotten
        with torch.no_grad():
            for a, b in zip(mean.state_dict().values(), net.state_dict().values()):
                if a.dtype.is_floating_point:
                    a.lerp_(b.to(a.dtype), 1 - keep)
        losses.append(loss.item())
        spent = time.monotonic() - began
        # By the clock, the rest of the schedule is spread over the rest of the time.
        progress = step / args.steps if args.steps else max(progress, spent / 60 / args.minutes)
        if step % 100 == 0:
            run["curve"].append([step, round(float(np.mean(losses)), 4), round(spent, 1)])
            print(f"step {step} loss {np.mean(losses):.4f} lr {rate(progress, args.lr):.5f} {step * args.batch / spent:.1f} clips/s {100 * progress:.1f} %", flush=True)
            losses = []
        if step % args.evaluate_every == 0:
            evaluate_now()
            net.train()
        if time.monotonic() - saved > 120:
            checkpoint_now()
            saved = time.monotonic()
    evaluate_now()
    checkpoint_now()


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="Train sonde's detector.")
    p.add_argument("set", type=Path, help="manifest.tsv, or a folder with bonafide/ and spoof/")
    p.add_argument("--name", default="sonde-8")
    p.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    p.add_argument("--work", type=Path, default=Path("~/.cache/sonde-train/work").expanduser(), help="where checkpoints go")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=0, help="length of the run; 0: by --minutes")
    p.add_argument("--minutes", type=float, default=42)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--decay", type=float, default=0.1)
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--dropout", type=float, default=0.3)
    p.add_argument("--smoothing", type=float, default=0.05)
    p.add_argument("--sharpness", type=float, default=0.0, help="reach of sharpness-aware steps, e.g. 0.5; 0: plain steps, twice as fast")
    p.add_argument("--strength", type=float, default=1.0, help="scales the chances of all augmentations")
    p.add_argument("--pairs", type=float, default=0.75, help="share of draws that pair a human and a synthetic clip of one source")
    p.add_argument("--old", type=float, default=0.8, help="weight of parametric and concatenative synthesis in the draws")
    p.add_argument("--adversary", type=float, default=0.1, help="weight of forgetting the source; 0: none")
    p.add_argument("--short", action=argparse.BooleanOptionalAction, default=True, help="train on parts of windows until the last fifth")
    p.add_argument("--exact", action="store_true", help="compute in float32 rather than bfloat16")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--processes", type=int, default=2, help="for building the cache")
    p.add_argument("--evaluate-every", type=int, default=500)
    p.add_argument("--hold-out", nargs="*", help="sources to train without and to evaluate on, in place of the split")
    p.add_argument("--start", type=Path, help="checkpoint whose weights to start from, to train on with other clips or settings")
    p.add_argument("--resume", action="store_true", help="go on with a run that was cut off")
    return p


def main() -> None:
    args = parser().parse_args()
    env.tune("train.train", args.threads)
    train(args)


if __name__ == "__main__":
    main()
