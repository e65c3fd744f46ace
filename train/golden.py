"""Golden files: what the C engine must reproduce.

`layers`: a synthetic window that C can generate by itself, and up to 512
values of every layer's output for it. When the engine and PyTorch part, the
first layer that differs names the culprit. `logits`: window logits of real
clips, found by path, so they only run where the clips are.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from . import data, detail, frontend, model, safetensors

MOST = 512


def synthetic(length: int = frontend.WINDOW) -> np.ndarray:
    """Two tones and a linear congruential noise, computed in double."""
    i = np.arange(length, dtype=np.float64)
    noise = np.empty(length)
    state = 1
    for n in range(length):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        noise[n] = (state >> 8) / 8388608.0 - 1.0
    tones = 0.3 * np.sin(2 * np.pi * 220 * i / 16000) + 0.2 * np.sin(2 * np.pi * (500 + i * 0.05) * i / 16000)
    return (tones + 0.1 * noise).astype(np.float32)


def detail_again(wave: np.ndarray) -> np.ndarray:
    """detail.py's numbers once more, by the words of its description, in torch and double."""
    x = torch.from_numpy(wave).double()

    def powers(size: int, hop: int) -> torch.Tensor:
        spectrum = torch.fft.rfft(x.unfold(0, size, hop) * torch.hann_window(size, dtype=torch.float64))[:, 1:]
        power = spectrum.abs().square()
        return power + power.mean() * 1e-8 + 1e-12

    middle = powers(256, 64)
    level = (middle[:, 2:56].mean(1) + 0.3 * middle[:, 56:].mean(1)).log()
    below = level.quantile(0.95) - level
    still = (below >= 4) & (below < 10)

    def chosen(level: torch.Tensor, kind: int, size: int, hop: int) -> torch.Tensor:
        """Which frames are loud (kind 0) or quiet (kind 1; where none is, the loud ones)."""
        place = torch.floor((hop * torch.arange(len(level)) + (size - 256) / 2) / 64 + 0.5).long()
        here = still[place.clamp(0, len(still) - 1)]
        return here if kind == 1 and here.any() else level > level.quantile(0.95) - 3.5

    def moments(values: torch.Tensor, ours: torch.Tensor, skip: int = 0) -> torch.Tensor:
        share = 1.0 / ours.sum()
        off = values[ours[skip:]]
        mean = off.sum(0) * share
        off = off - mean
        deviation = (off.square().sum(0) * share).sqrt() + 1e-3
        return torch.stack([mean, deviation, off.pow(3).sum(0) * share / deviation**3])

    def departures(row: torch.Tensor) -> torch.Tensor:
        wide = torch.nn.functional.pad(row[None, None], (8, 8), mode="replicate").unfold(2, 17, 1).mean(-1)[0, 0]
        rest = (row - wide).unflatten(0, (-1, 16))
        return torch.stack([rest.std(1, unbiased=False), rest.amax(1), rest.amin(1)])

    power = powers(2048, 640)
    level = power.log()
    loud = power[:, 25:449].mean(1).log()
    ours = chosen(loud, 0, 2048, 640)
    parts = [departures(level[ours].mean(0)), departures(level.mean(0))]
    grouped = power.unflatten(1, (64, 16))
    parts.append(moments(grouped.mean(2).log() - grouped.log().mean(2), ours))
    short = powers(64, 16)
    blocks = short[: len(short) // 25 * 25].unflatten(0, (-1, 25))
    level = blocks.log()
    z = (level - level.mean(1, keepdim=True)) / (level.std(1, unbiased=False, keepdim=True) + 0.05)
    voice = z[:, :, 1:12].mean(2, keepdim=True)
    voice = voice / (voice.square().mean(1, keepdim=True).sqrt() + 0.05)
    step = level.diff(dim=1)
    rows = [blocks.mean(1).log() - level.mean(1), (z * voice).mean(1)] + [(z[:, :, n:] * z[:, :, :-n]).mean(1) for n in (1, 4)]
    rows.append(step.pow(3).mean(1) / (step.square().mean(1).pow(1.5) + 0.05))
    y = model.features(x[None])[0, 0].T

    pictures = {"pic": (y, y[:, 4:60].mean(1), 400, 160)}
    for name, power, size, hop, first, last in (("mid", middle, 256, 64, 2, 56), ("short", short, 64, 16, 1, 14)):
        pictures[name] = (power.log(), power[:, first:last].mean(1).log(), size, hop)
    flat = {name: level - level[chosen(energy, 0, size, hop)].mean(0) for name, (level, energy, size, hop) in pictures.items()}
    cross = torch.tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=torch.float64)
    bend = torch.nn.functional.conv2d(flat["pic"][None, None], cross[None, None])[0, 0]
    for kind in (0, 1):
        ours = chosen(blocks[:, :, 1:14].mean((1, 2)).log(), kind, 400, 400)
        parts += [moments(row, ours) for row in rows]
        which = {name: chosen(energy, kind, size, hop) for name, (_, energy, size, hop) in pictures.items()}
        ours = which["pic"]
        parts += [moments(y, ours)[1:], moments(y.diff(dim=0).abs(), ours, 1)[:2], moments(y.diff(dim=1).abs(), ours)[:2]]
        for name, frames, bins in (("pic", 16, 16), ("mid", 16, 16), ("short", 32, 8)):
            window = torch.outer(torch.hann_window(frames, dtype=torch.float64), torch.hann_window(bins, dtype=torch.float64))
            patches = flat[name].unfold(0, frames, frames // 2).unfold(1, bins, bins) * window
            power = torch.fft.fft2(patches).abs().square()
            power = (power + power.roll(-1, 2).flip(2)) / 2
            weight = which[name].unfold(0, frames, frames // 2).sum(1).double()
            mean = torch.tensordot(weight / weight.sum(), power, 1)
            parts.append((mean[:, : frames // 2 + 1, : bins // 2 + 1] + 0.01).log())
        for name, steps, size in (("pic", bend, 2), ("pic", flat["pic"].diff(n=2, dim=0), 1), ("mid", flat["mid"].diff(dim=1), 1)):
            value = (steps / size).round().clamp(-2, 2) + 2
            for axis in (0, 1):
                count = value.shape[axis] - 1
                both = value.narrow(axis, 0, count) * 5 + value.narrow(axis, 1, count)
                both = both[which[name][1 - axis : len(both) + 1 - axis]]
                part = torch.arange(both.shape[1]) * 6 // both.shape[1]
                counts = torch.stack([torch.bincount(both[:, part == n].flatten().long(), minlength=25) for n in range(6)])
                parts.append((counts / counts.sum(1, keepdim=True) + 1e-3).sqrt())
    return torch.cat([p.flatten() for p in parts]).numpy()


def write_detail(path: Path) -> None:
    """All of detail.py's numbers for the synthetic window, swelling and fading so that not all of it is loud, as double precision has them."""
    swell = np.sin(2 * np.pi * 1.3 * np.arange(frontend.WINDOW, dtype=np.float64) / 16000)
    wave = synthetic() * (0.02 + swell * swell).astype(np.float32)
    value = detail_again(wave)
    gap = np.abs(value - detail.numbers(wave)).max()
    if gap > 1e-2:
        raise SystemExit(f"the two ways to detail.py's numbers differ by {gap}")
    safetensors.save(path, {"detail": value.astype(np.float32)}, {"about": "the numbers of train/detail.py for the synthetic window of train/golden.py"})


def detector(path: Path) -> tuple[model.Detector, model.Detail | None, dict[str, str]]:
    """A model file's networks; the second is None where it has none."""
    tensors, metadata = safetensors.load(path)
    nets: list[torch.nn.Module | None] = [model.Detector().eval(), None]
    if "detail_hidden" in metadata:
        first, second = map(int, metadata["detail_hidden"].split(","))
        nets[1] = model.Detail((first, second)).eval()
    for net, mine in zip(nets, (lambda k: not k.startswith(("detail.", "gate.")), lambda k: k.startswith("detail."))):
        state = {k.removeprefix("detail."): torch.from_numpy(v) for k, v in tensors.items() if mine(k)}
        missing, unknown = net.load_state_dict(state, strict=False) if net else ([], list(state))
        if unknown or any(not k.endswith("num_batches_tracked") for k in missing):
            raise SystemExit(f"{path}: missing {missing}, unknown {unknown}")
    return nets[0], nets[1], metadata


def write_layers(net: model.Detector, second: model.Detail | None, path: Path) -> float:
    wave = synthetic()
    x = model.features(torch.from_numpy(wave)[None])
    gap = np.abs(x[0, 0].numpy() - frontend.features(wave)).max()
    if gap > 1e-3:
        raise SystemExit(f"the two front ends differ by {gap}")
    record: dict[str, torch.Tensor] = {"input": x}
    with torch.no_grad():
        net(x, record)
        if second:
            row = torch.from_numpy(detail.numbers(wave))[None]
            record["logit"] = record["logit"] + second(row, record)
        logit = float(record["logit"][0])
    tensors: dict[str, np.ndarray] = {}
    for name, value in record.items():
        value = value[0]
        if value.dim() == 3:  # [C, H, W] to [H, W, C], the engine's order
            value = value.permute(1, 2, 0)
        flat = value.contiguous().reshape(-1).numpy().astype(np.float32)
        index = np.unique(np.linspace(0, len(flat) - 1, min(MOST, len(flat))).astype(np.int32))
        tensors[name + ".idx"] = index.astype(np.int32)
        tensors[name + ".val"] = flat[index]
        tensors[name + ".shape"] = np.array(value.shape or (1,), np.int32)
    safetensors.save(path, tensors, {"about": "layer outputs of the detector for the synthetic window of train/golden.py"})
    return logit


def logits(net: model.Detector, second: model.Detail | None, samples: np.ndarray) -> list[float]:
    windows = frontend.windows(samples.astype(np.float32))
    with torch.no_grad():
        out = net(torch.from_numpy(np.stack([frontend.features(w) for w in windows]))[:, None])
        if second:
            out = out + second(torch.from_numpy(np.stack([detail.numbers(w) for w in windows])))
    return out.tolist()


def write_logits(net: model.Detector, second: model.Detail | None, manifest: Path, path: Path, raw: Path | None, seed: int = 7, each: int = 100) -> None:
    """Logits of `each` clips per label; `raw` holds NUMBER.f32 files, the C program's own decoding."""
    clips = data.read_set(manifest)
    rng = np.random.default_rng(seed)
    picked: list[data.Clip] = []
    for label in ("bonafide", "spoof"):
        members = [c for c in clips if c.label == label]
        picked += [members[i] for i in sorted(rng.choice(len(members), min(each, len(members)), replace=False))]
    lines = ["#clip\tpath\tlabel\twindows\tlogits"]
    for number, clip in enumerate(picked):
        if raw and (raw / f"{number}.f32").exists():
            samples = np.fromfile(raw / f"{number}.f32", np.float32)
        else:
            samples = data.decode(str(data.root_of(manifest) / clip.path)).astype(np.float32) / 32768
        values = logits(net, second, samples)
        lines.append(f"{number}\t{clip.path}\t{clip.label}\t{len(values)}\t" + " ".join(f"{v:.6f}" for v in values))
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write golden files for the C engine's tests.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", type=Path, help="where to write the layers' outputs")
    parser.add_argument("--detail", type=Path, help="where to write the numbers of detail.py")
    parser.add_argument("--logits", type=Path, help="where to write the logits of real clips")
    parser.add_argument("--manifest", type=Path, help="the set that real clips are drawn from")
    parser.add_argument("--raw", type=Path, help="folder of NUMBER.f32 files, 16 kHz, to use in place of decoding")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.detail:
        write_detail(args.detail)
    net, second, _ = detector(args.model)
    if args.layers:
        print(f"logit of the synthetic window: {write_layers(net, second, args.layers):.6f}")
    if args.logits:
        write_logits(net, second, args.manifest, args.logits, args.raw)


if __name__ == "__main__":
    main()
