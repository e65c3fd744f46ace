"""Whether a clip far from what training saw is judged wrong more often: it is not (docs/detector.md), so the program does not ask.

    python3 -m train.outlier MANIFEST [--model models/sonde-8.safetensors] [--every 3]

Distance: Mahalanobis in each network's last hidden layer but one (the first's pooled summary, the second's second layer), to the nearer of training's two labels, covariances shrunk by a fifth
towards their diagonal. 0.5 in the first column is nothing: distance does not tell errors from right answers.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from . import data, engine, evaluate, frontend, golden, model


Rows = dict[str, np.ndarray]


def summaries(first: model.Detector, second: model.Detail, cache: data.Cache, members: list[int], copy: int) -> tuple[Rows, np.ndarray]:
    """Mean summary by either network, and mean of their summed logits, of each clip's windows."""
    rows: dict[str, list[np.ndarray]] = {"first": [], "second": []}
    logits = []
    with torch.no_grad():
        for i in members:
            pooled: dict[str, torch.Tensor] = {}
            windows = frontend.windows(cache.samples(i, copy).astype(np.float32) / 32768)
            picture = torch.from_numpy(np.stack([frontend.features(w) for w in windows])).unsqueeze(1)
            numbers = torch.from_numpy(np.stack([engine.numbers(w) for w in windows]))
            logits.append(float((first(picture, pooled=pooled) + second(numbers, pooled)).mean()))
            rows["first"].append(pooled["attn"].mean(0).numpy())
            rows["second"].append(pooled["detail.fc2"].mean(0).numpy())
    return {name: np.array(r, np.float64) for name, r in rows.items()}, np.array(logits)


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
    parser.add_argument("--model", type=Path, default=Path("models/sonde-8.safetensors"))
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    parser.add_argument("--every", type=int, default=3, help="only every Nth clip of train")
    args = parser.parse_args()
    torch.set_num_threads(1)
    first, second, about = golden.detector(args.model)
    cache = data.build(args.set, args.cache, copies=1)
    of = {split: [i for i, c in enumerate(cache.clips) if c.split == split] for split in ("train", "valid")}
    train = of["train"][:: args.every]
    seen, _ = summaries(first, second, cache, train, 0)
    spoof = np.array([cache.clips[i].spoof for i in train])
    label = np.array([cache.clips[i].spoof for i in of["valid"]])
    for copy, name in ((0, "as they are"), (1, "through codecs")):
        rows, logit = summaries(first, second, cache, of["valid"], copy)
        wrong = (float(about["llr_scale"]) * logit + float(about["llr_offset"]) >= float(about["threshold_llr"])) != label
        for which, ours in rows.items():
            far = distance(ours, [seen[which][spoof == k] for k in (0, 1)])
            edges = np.quantile(far, [0, 0.25, 0.5, 0.75, 0.9, 1])
            bins = [wrong[(far >= a) & (far <= b)].mean() for a, b in zip(edges, edges[1:])]
            apart = [evaluate.auc(far[~wrong & (label == k)], far[wrong & (label == k)]) for k in (0, 1)]
            print(
                f"{name}, {which} network: AUC of distance for errors {evaluate.auc(far[~wrong], far[wrong]):.3f} (human {apart[0]:.3f}, synthetic {apart[1]:.3f}); "
                f"errors by quarter, the last in two: {', '.join(f'{100 * b:.0f} %' for b in bins)}"
            )
        sure = np.abs(logit * float(about["llr_scale"]) + float(about["llr_offset"]) - float(about["threshold_llr"]))
        print(f"{name}: AUC of nearness to the threshold for errors {evaluate.auc(-sure[~wrong], -sure[wrong]):.3f}; {100 * wrong.mean():.1f} % are errors")


if __name__ == "__main__":
    main()
