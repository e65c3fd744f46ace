"""Whether a clip far from what training saw is judged wrong more often: it is not (docs/detector.md), so the program does not ask.

    python3 -m train.outlier MANIFEST [--model models/sonde-1.safetensors] [--every 3]

Distance: Mahalanobis in the network's pooled summary, to the nearer of training's two labels, covariances shrunk by a fifth
towards their diagonal. 0.5 in the first column is nothing: distance does not tell errors from right answers.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from . import data, evaluate, frontend, model, safetensors


def summaries(net: model.Detector, cache: data.Cache, members: list[int], copy: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean summary and mean logit of each clip's windows."""
    rows, logits = [], []
    with torch.no_grad():
        for i in members:
            pooled: dict[str, torch.Tensor] = {}
            x = np.stack([frontend.features(w) for w in frontend.windows(cache.samples(i, copy).astype(np.float32) / 32768)])
            logits.append(float(net(torch.from_numpy(x).unsqueeze(1), pooled=pooled).mean()))
            rows.append(pooled["attn"].mean(0).numpy())
    return np.array(rows, np.float64), np.array(logits)


def distance(rows: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
    out = []
    for k in known:
        spread = np.cov(k.T)
        spread = 0.8 * spread + 0.2 * np.diag(np.diag(spread)) + 1e-6 * np.eye(len(spread))
        off = rows - k.mean(0)
        out.append(np.sqrt(np.einsum("ij,ij->i", off @ np.linalg.inv(spread), off)))
    return np.min(out, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/sonde-1.safetensors"))
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    parser.add_argument("--every", type=int, default=3, help="only every Nth clip of train")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tensors, about = safetensors.load(args.model)
    net = model.Detector().eval()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=False)
    cache = data.build(args.set, args.cache)
    of = {split: [i for i, c in enumerate(cache.clips) if c.split == split] for split in ("train", "valid")}
    train = of["train"][:: args.every]
    seen, _ = summaries(net, cache, train, 0)
    spoof = np.array([cache.clips[i].spoof for i in train])
    known = [seen[spoof == label] for label in (0, 1)]
    label = np.array([cache.clips[i].spoof for i in of["valid"]])
    for copy, name in ((0, "as they are"), (1, "through codecs")):
        rows, logit = summaries(net, cache, of["valid"], copy)
        wrong = (float(about["llr_scale"]) * logit + float(about["llr_offset"]) >= float(about["threshold_llr"])) != label
        far = distance(rows, known)
        edges = np.quantile(far, [0, 0.25, 0.5, 0.75, 0.9, 1])
        bins = [wrong[(far >= a) & (far <= b)].mean() for a, b in zip(edges, edges[1:])]
        print(f"{name}: AUC of distance for errors {evaluate.auc(far[~wrong], far[wrong]):.3f} (human {evaluate.auc(far[~wrong & (label == 0)], far[wrong & (label == 0)]):.3f}, synthetic {evaluate.auc(far[~wrong & (label == 1)], far[wrong & (label == 1)]):.3f}); errors by quarter, the last in two: {', '.join(f'{100 * b:.0f} %' for b in bins)}")


if __name__ == "__main__":
    main()
