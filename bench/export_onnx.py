#!/usr/bin/python3
"""The detector's network as ONNX, for comparing runtimes on the same weights.

Batch normalisation is folded by the exporter's constant folding, so that the
other runtime starts from the same network as sonde's engine does.

    python3 bench/export_onnx.py models/sonde-8.safetensors bench/out/sonde-8.onnx
"""
from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from train import frontend, golden  # noqa: E402


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    net = golden.detector(source)[0]
    net.eval()
    target.parent.mkdir(parents=True, exist_ok=True)
    x = torch.zeros(1, 1, frontend.BANDS, frontend.FRAMES)
    with torch.no_grad():
        torch.onnx.export(net, (x,), str(target), opset_version=16, do_constant_folding=True,
                          input_names=["input"], output_names=["logit"])
    import onnx
    kinds: dict[str, int] = {}
    for node in onnx.load(str(target)).graph.node:
        kinds[node.op_type] = kinds.get(node.op_type, 0) + 1
    print(target, " ".join(f"{k}:{v}" for k, v in sorted(kinds.items())))


if __name__ == "__main__":
    main()
