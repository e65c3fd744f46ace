"""One command from labelled clips to a model file: python3 -m train SET OUT.

Trains (or goes on with a training that stopped), exports the state that did
best on the validation clips, and writes the card.
All options of train.train are taken; see train/README.md.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

from . import env, export, train


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
    export.export(export.parser().parse_args([
        str(args.set), str(args.work / f"{args.name}-{step}.pt"), str(args.out), "--name", args.name, "--run", str(record),
        "--cache", str(args.cache), "--threads", str(args.threads), *(["--program", str(program)] if program else []),
    ]))


if __name__ == "__main__":
    sys.exit(main())
