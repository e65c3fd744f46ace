#!/usr/bin/python3
"""Times the detector's front end and network in PyTorch on one thread; prints JSON.

    python3 bench/torch_bench.py models/sonde-8.safetensors bench/out/input.f32 [ITERATIONS]
"""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from train import frontend, golden, model  # noqa: E402


def times(work, iterations: int) -> dict[str, float]:
    for _ in range(max(2, iterations // 10)):
        work()
    wall = []
    cpu = time.process_time()
    for _ in range(iterations):
        start = time.perf_counter()
        work()
        wall.append(1e6 * (time.perf_counter() - start))
    cpu = 1e6 * (time.process_time() - cpu) / iterations
    return {"cpu_us": cpu, "min_us": min(wall), "median_us": float(np.median(wall))}


def main() -> None:
    iterations = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    torch.set_num_threads(1)
    net = golden.detector(Path(sys.argv[1]))[0]
    x = torch.from_numpy(np.fromfile(sys.argv[2], np.float32).reshape(1, 1, frontend.BANDS, -1))
    wave = torch.from_numpy(golden.synthetic())[None]
    with torch.inference_mode():
        result = {
            "runtime": f"torch {torch.__version__}",
            "output": [float(net(x)[0])],
            "iterations": iterations,
            "network": times(lambda: net(x), iterations),
            "front": times(lambda: model.features(wave), iterations),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
