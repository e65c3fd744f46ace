"""Averages checkpoints: python3 -m train.average OUT.pt WEIGHT:CHECKPOINT.pt ...

States of one course of training lie in one basin, and their mean does a little better
on sources that none of them has seen than any of them alone (Izmailov et al., "Averaging
weights leads to wider optima and better generalization", UAI 2018). The running mean of
the weights is taken of each; statistics of the normalisations are averaged like the rest.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description="Average checkpoints of one course of training.")
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", nargs="+", help="WEIGHT:CHECKPOINT.pt; the last one's record goes with the result")
    parser.add_argument("--before", nargs="*", type=Path, default=[], help="checkpoints that the last part's training started from; their steps count too")
    parser.add_argument("--words", default="The weights are a mean of several states of the training.", help="what the card says of the choice")
    args = parser.parse_args()
    weights, states = [], []
    for part in args.parts:
        weight, path = part.split(":", 1)
        weights.append(float(weight))
        states.append(torch.load(path))
    total = sum(weights)
    mean = {}
    for key, value in states[0]["ema"].items():
        if value.dtype.is_floating_point:
            value = (sum(w * s["ema"][key].double() for w, s in zip(weights, states)) / total).float()
        mean[key] = value
    last = states[-1]
    before = [torch.load(path) for path in args.before]
    last.update(ema=mean, step=last["step"] + sum(b["step"] for b in before), spent=last["spent"] + sum(b["spent"] for b in before))
    last["run"]["average"] = args.words
    torch.save(last, args.out)
    print(f"{args.out}: {len(states)} states, {last['step']} steps, {last['spent'] / 60:.0f} minutes")


if __name__ == "__main__":
    main()
