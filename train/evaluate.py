"""Figures of merit, and scoring of a whole set; numpy and torch only.

Scores are log-likelihood ratios or anything that grows with them: higher means
synthetic. EER and AUC look at the order alone, Cllr at the values too; minCllr
is Cllr after the best monotone mapping, so the difference is calibration.
"""
from __future__ import annotations

import math

import numpy as np
import torch

from . import frontend
from .data import Cache


def curve(human: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False positive and false negative rate at every threshold (score >= threshold is called synthetic)."""
    thresholds = np.concatenate([np.unique(np.concatenate([human, synthetic])), [np.inf]])
    fpr = 1 - np.searchsorted(np.sort(human), thresholds, side="left") / len(human)
    fnr = np.searchsorted(np.sort(synthetic), thresholds, side="left") / len(synthetic)
    return thresholds, fpr, fnr


def eer(human: np.ndarray, synthetic: np.ndarray) -> tuple[float, float]:
    """Equal error rate, and the threshold at which it lies."""
    thresholds, fpr, fnr = curve(human, synthetic)
    i = int(np.argmin(np.abs(fpr - fnr)))
    at = thresholds[i] if np.isfinite(thresholds[i]) else thresholds[i - 1]
    if i and np.isfinite(thresholds[i]):  # between two scores, not on one
        at = (thresholds[i] + thresholds[i - 1]) / 2
    return float((fpr[i] + fnr[i]) / 2), float(at)


def auc(human: np.ndarray, synthetic: np.ndarray) -> float:
    order = np.sort(human)
    below = np.searchsorted(order, synthetic, side="left")
    ties = np.searchsorted(order, synthetic, side="right") - below
    return float((below + 0.5 * ties).sum() / (len(human) * len(synthetic)))


def cllr(human: np.ndarray, synthetic: np.ndarray) -> float:
    """Cost of log-likelihood ratios in bits; 1 is what knowing nothing costs."""
    return float((np.logaddexp(0, -synthetic).mean() + np.logaddexp(0, human).mean()) / (2 * math.log(2)))


def min_cllr(human: np.ndarray, synthetic: np.ndarray) -> float:
    """Cllr after pool-adjacent-violators, the best mapping in hindsight."""
    score = np.concatenate([human, synthetic])
    target = np.concatenate([np.zeros(len(human)), np.ones(len(synthetic))])
    # Among ties the synthetic come first: a pool must not split equal scores.
    order = np.lexsort((-target, score))
    blocks: list[list[float]] = []
    for value in target[order]:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1][0] += last[0]
            blocks[-1][1] += last[1]
    posterior = np.concatenate([np.full(int(n), s / n) for s, n in blocks])
    with np.errstate(divide="ignore"):
        llr = np.log(posterior) - np.log1p(-posterior) - math.log(len(synthetic) / len(human))
    back = np.empty(len(score))
    back[order] = llr
    return cllr(back[: len(human)], back[len(human) :])


def figures(human: np.ndarray, synthetic: np.ndarray, calibrated: bool = False) -> dict[str, float]:
    if not len(human) or not len(synthetic):
        return {"n_bonafide": len(human), "n_spoof": len(synthetic)}
    out = {
        "n_bonafide": len(human),
        "n_spoof": len(synthetic),
        "eer": eer(human, synthetic)[0],
        "auc": auc(human, synthetic),
        "min_cllr": min_cllr(human, synthetic),
    }
    if calibrated:
        out["cllr"] = cllr(human, synthetic)
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in out.items()}


def wilson(errors: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a rate."""
    if not count:
        return 0.0, 1.0
    p, zz = errors / count, z * z
    middle = (p + zz / (2 * count)) / (1 + zz / count)
    half = z / (1 + zz / count) * math.sqrt(p * (1 - p) / count + zz / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibrate(human: np.ndarray, synthetic: np.ndarray) -> tuple[float, float]:
    """Scale and offset that turn scores into log-likelihood ratios.

    Logistic regression in which both labels weigh the same, by Newton's method;
    the tiny ridge keeps it finite where the labels separate.
    """
    x = np.concatenate([human, synthetic])
    y = np.concatenate([np.zeros(len(human)), np.ones(len(synthetic))])
    w = np.where(y == 1, 0.5 / len(synthetic), 0.5 / len(human))
    a = np.stack([x, np.ones(len(x))], axis=1)
    theta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(a @ theta, -40, 40)))
        gradient = a.T @ (w * (p - y)) + 1e-6 * theta
        hessian = (a * (w * p * (1 - p))[:, None]).T @ a + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta -= step
        if np.abs(step).max() < 1e-9:
            break
    return float(theta[0]), float(theta[1])


def left_out(raw: np.ndarray, label: np.ndarray, source: np.ndarray) -> tuple[float, float]:
    """Cllr, and the mean of both error rates, when each source is judged by what the others calibrate."""
    llr, wrong = np.empty(len(raw)), np.empty(len(raw))
    for name in np.unique(source):
        own = source == name
        rest = ~own if len(set(label[~own])) == 2 else ~own | own  # without one of the labels nothing can be fitted
        scale, offset = calibrate(*split(raw[rest], label[rest]))
        llr[own] = scale * raw[own] + offset
        threshold = eer(*split(raw[rest], label[rest]))[1]
        wrong[own] = (raw[own] >= threshold) != (label[own] == 1)
    return cllr(*split(llr, label)), float(wrong[label == 0].mean() + wrong[label == 1].mean()) / 2


class Windows:
    """The windows of some clips, their features computed once."""

    def __init__(self, cache: Cache, members: list[int], copy: int = 0) -> None:
        self.members = members
        rows, owner = [], []
        for number, i in enumerate(members):
            for window in frontend.windows(cache.samples(i, copy).astype(np.float32) / 32768):
                rows.append(frontend.features(window).astype(np.float16))
                owner.append(number)
        self.rows = np.stack(rows)
        self.owner = np.array(owner)
        self.label = np.array([cache.clips[i].spoof for i in members])
        self.source = np.array([cache.clips[i].source for i in members])

    def scores(self, net: torch.nn.Module, batch: int = 32, quick: bool = False) -> np.ndarray:
        """Mean window logit of every clip. `quick` computes in bfloat16, for curves only."""
        net.eval()
        out = []
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=quick):
            for at in range(0, len(self.rows), batch):
                x = torch.from_numpy(self.rows[at : at + batch].astype(np.float32))[:, None]
                out.append(net(x.contiguous(memory_format=torch.channels_last)).float().numpy())
        logits = np.concatenate(out)
        return np.bincount(self.owner, logits) / np.bincount(self.owner)


def within(scores: np.ndarray, label: np.ndarray, source: np.ndarray, least: int = 5) -> float:
    """Mean AUC inside the sources that have both labels: nothing but the synthesis differs there."""
    values = []
    for name in np.unique(source):
        human, synthetic = split(scores[source == name], label[source == name])
        if min(len(human), len(synthetic)) >= least:
            values.append(auc(human, synthetic))
    return round(float(np.mean(values)), 5) if values else float("nan")


def split(scores: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scores[label == 0], scores[label == 1]
