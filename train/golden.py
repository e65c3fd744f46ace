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

from . import data, frontend, model, safetensors

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


def detector(path: Path) -> tuple[model.Detector, dict[str, str]]:
    tensors, metadata = safetensors.load(path)
    net = model.Detector().eval()
    state = {k: torch.from_numpy(v) for k, v in tensors.items()}
    missing, unknown = net.load_state_dict(state, strict=False)
    if unknown or any(not k.endswith("num_batches_tracked") for k in missing):
        raise SystemExit(f"{path}: missing {missing}, unknown {unknown}")
    return net, metadata


def write_layers(net: model.Detector, path: Path) -> float:
    wave = synthetic()
    x = model.features(torch.from_numpy(wave)[None])
    gap = np.abs(x[0, 0].numpy() - frontend.features(wave)).max()
    if gap > 1e-3:
        raise SystemExit(f"the two front ends differ by {gap}")
    record: dict[str, torch.Tensor] = {"input": x}
    with torch.no_grad():
        logit = float(net(x, record)[0])
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


def logits(net: model.Detector, samples: np.ndarray) -> list[float]:
    x = np.stack([frontend.features(w) for w in frontend.windows(samples.astype(np.float32))])
    with torch.no_grad():
        return net(torch.from_numpy(x)[:, None]).tolist()


def write_logits(net: model.Detector, manifest: Path, path: Path, raw: Path | None, seed: int = 7, each: int = 100) -> None:
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
        values = logits(net, samples)
        lines.append(f"{number}\t{clip.path}\t{clip.label}\t{len(values)}\t" + " ".join(f"{v:.6f}" for v in values))
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write golden files for the C engine's tests.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", type=Path, help="where to write the layers' outputs")
    parser.add_argument("--logits", type=Path, help="where to write the logits of real clips")
    parser.add_argument("--manifest", type=Path, help="the set that real clips are drawn from")
    parser.add_argument("--raw", type=Path, help="folder of NUMBER.f32 files, 16 kHz, to use in place of decoding")
    args = parser.parse_args()
    torch.set_num_threads(1)
    net, _ = detector(args.model)
    if args.layers:
        print(f"logit of the synthetic window: {write_layers(net, args.layers):.6f}")
    if args.logits:
        write_logits(net, args.manifest, args.logits, args.raw)


if __name__ == "__main__":
    main()
