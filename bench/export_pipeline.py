#!/usr/bin/python3
"""Front end and network as one ONNX graph, from 61,680 samples to a logit.

ONNX Runtime has no FFT that torch 1.13 can export to, so the frames are taken by a
convolution with the rows of the windowed DFT, as other exported detectors do.

    python3 bench/export_pipeline.py models/sonde-8.safetensors bench/out/pipeline.onnx
"""
from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from train import frontend, golden  # noqa: E402


class Pipeline(torch.nn.Module):
    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net
        k, n = np.arange(1, 2 * frontend.BANDS + 1)[:, None], np.arange(frontend.FRAME)[None]
        angle = 2 * np.pi * k * n / frontend.SIZE
        rows = np.concatenate([np.cos(angle), np.sin(angle)]) * np.asarray(frontend.HANN, np.float64)
        self.rows = torch.nn.Parameter(torch.from_numpy(rows.astype(np.float32))[:, None], requires_grad=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        spectrum = torch.nn.functional.conv1d(samples[:, None], self.rows, stride=frontend.HOP)
        power = spectrum.square()
        power = power[:, : 2 * frontend.BANDS] + power[:, 2 * frontend.BANDS :]
        band = power.reshape(-1, frontend.BANDS, 2, frontend.FRAMES).sum(2)
        mean = band.mean((1, 2), keepdim=True)
        y = torch.log(band + 1e-10) - torch.log(mean + 1e-10)
        y = y.clamp_min(-math.log(1e6))
        return self.net((y - y.mean(2, keepdim=True))[:, None])


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    net = golden.detector(source)[0]
    pipeline = Pipeline(net.eval()).eval()
    x = torch.from_numpy(golden.synthetic())[None]
    with torch.no_grad():
        gap = float((pipeline(x) - net(torch.from_numpy(frontend.features(x[0].numpy()))[None, None])).abs().max())
        if gap > 1e-3:
            raise SystemExit(f"the exported front end differs: logit off by {gap}")
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(pipeline, (x,), str(target), opset_version=16, do_constant_folding=True, input_names=["samples"], output_names=["logit"])


if __name__ == "__main__":
    main()
