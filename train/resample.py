"""The program's resampler, libsoxr, for what a file at 8 kHz sounds like to it.

The coded copies (data.py) are decoded by ffmpeg, whose own resampler leaves other traces where a narrow band
ends and above: enough to move a quarter of the second network's numbers by more than their deviation.
"""
from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache

import numpy as np

RECIPE = 4  # SOXR_HQ, as in src/media/decoder/resample.c
EDGE_HZ, BELOW = 4500, 1e-6  # no more above than this share of the whole power: narrow


class Quality(ctypes.Structure):
    _fields_ = [("numbers", ctypes.c_double * 4), ("pointer", ctypes.c_void_p), ("flags", ctypes.c_ulong)]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    name = ctypes.util.find_library("soxr")
    if not name:
        raise SystemExit("libsoxr is not installed: apt install libsoxr0")
    soxr = ctypes.CDLL(name)
    soxr.soxr_quality_spec.restype, soxr.soxr_quality_spec.argtypes = Quality, [ctypes.c_ulong, ctypes.c_ulong]
    soxr.soxr_oneshot.restype = ctypes.c_char_p
    return soxr


def doubled(x: np.ndarray) -> np.ndarray:
    """Float samples at twice their rate."""
    x, out = np.ascontiguousarray(x, np.float32), np.zeros(2 * len(x), np.float32)
    soxr, point = library(), lambda a: a.ctypes.data_as(ctypes.c_void_p)
    quality = soxr.soxr_quality_spec(RECIPE, 0)
    failed = soxr.soxr_oneshot(
        ctypes.c_double(1), ctypes.c_double(2), ctypes.c_uint(1), point(x), ctypes.c_size_t(len(x)), None,
        point(out), ctypes.c_size_t(len(out)), None, None, ctypes.byref(quality), None,
    )
    if failed:
        raise RuntimeError(failed.decode())
    return out


def narrow(x: np.ndarray, rate: int = 16000) -> bool:
    """Whether next to nothing lies above EDGE_HZ. (Of quiet recordings the rounding to 16 bits does; they pass for wide.)"""
    power = np.abs(np.fft.rfft(x)) ** 2
    return bool(power[int(EDGE_HZ / rate * len(x)) :].sum() < BELOW * power.sum())


def as_program(x: np.ndarray) -> np.ndarray:
    """A narrow recording at 16 kHz, as if it came from a file at 8 kHz."""
    return doubled(x[::2])[: len(x)]
