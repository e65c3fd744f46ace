"""One command from labelled clips to a model file: python3 -m train SET OUT.

Trains the first network (or goes on with a training that stopped), takes the state that did
best on the validation clips, trains the second one beside it, and writes the model file and its card.
All options of train.train are taken; see train/README.md.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

from . import env, export, second, train


def main() -> None:
    parser = train.parser()
    parser.add_argument("out", type=Path, help="the model file to write, NAME.safetensors")
    parser.add_argument("--program", type=Path, help="sonde; calibration and figures then come from its own scores")
    args = parser.parse_args()
    env.tune("train", args.threads)
    args.name, args.resume = args.out.stem, True
    program = args.program
    del args.program  # no setting of the training: it stays out of the run's record
    train.train(args)
    record = train.RUNS / f"{args.name}.json"
    step = export.best(json.loads(record.read_text()))
    first, both = args.work / f"{args.name}-{step}.pt", args.work / f"{args.name}-both.pt"
    kept = ["--cache", str(args.cache), "--work", str(args.work), "--seed", str(args.seed), *(["--hold-out", *args.hold_out] if args.hold_out else [])]
    second.run(second.parser().parse_args([str(args.set), str(both), "--first", str(first), *kept]))
    export.export(export.parser().parse_args([
        str(args.set), str(both), str(args.out), "--name", args.name, "--run", str(record),
        "--cache", str(args.cache), "--threads", str(args.threads), *(["--program", str(program)] if program else []),
    ]))


if __name__ == "__main__":
    sys.exit(main())
