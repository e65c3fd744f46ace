"""Process environment for fast PyTorch on a few CPU cores.

The C library's allocator gives large blocks back to the kernel after every
layer, and the page faults of taking them again cost half of the training
time. These variables stop that; they are read when a process starts, so the
script runs itself again once with them set.
"""
import os
import sys

WANTED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_WAIT_POLICY": "passive",
}


def tune(module: str, threads: int = 1) -> None:
    """Restart `python3 -m module` with the wanted environment, once."""
    if os.environ.get("SONDE_TRAIN_TUNED"):
        return
    env = dict(os.environ, SONDE_TRAIN_TUNED="1", OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
    for name, value in WANTED.items():
        env.setdefault(name, value)
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], env)
