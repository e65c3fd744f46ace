"""detail.py's numbers by the program's engine, in a sixth of the time that numpy takes.

Used where the program was built (make build; its BUILD folder is build/), else numpy's. They agree to
about 1e-3: both are held against the definition in double (golden.py, tests/unit/nn/test_detail.c).
"""
from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from . import detail, frontend

LIBRARY = Path(__file__).resolve().parent.parent / "build" / "train" / "libsonde_numbers.so"
BEST = -1  # NN_ISA_AUTO: what SONDE_ISA names, or the fastest instruction set here


def opened() -> ctypes.CDLL | None:
    if not LIBRARY.exists():
        return None
    library = ctypes.CDLL(str(LIBRARY))
    if library.numbers_count() != detail.COUNT:
        raise SystemExit(f"{LIBRARY} has {library.numbers_count()} numbers, train/detail.py {detail.COUNT}: build the program again (make build)")
    floats = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    library.numbers_of.argtypes = [ctypes.c_int, floats, floats]
    return library


ENGINE = opened()


def numbers(x: np.ndarray) -> np.ndarray:
    """The numbers of a window of frontend.WINDOW float samples: [detail.COUNT]."""
    if ENGINE is None:
        return detail.numbers(x)
    x, out = np.ascontiguousarray(x, np.float32), np.empty(detail.COUNT, np.float32)
    if x.shape != (frontend.WINDOW,):
        raise ValueError(f"a window has {frontend.WINDOW} samples, not {x.shape}")
    if ENGINE.numbers_of(BEST, x, out):
        raise SystemExit("the engine has no memory, or SONDE_ISA names an instruction set that is not here")
    return out
