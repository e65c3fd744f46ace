"""From samples to what the network sees; in numpy, for training and scoring.

model.py holds the same in torch, and golden.py checks that the two agree. The
C engine does the same again, so every constant here is part of the format.

A window is 384 frames of 400 samples, 160 apart. The spectrum of a frame is
summed in pairs of bins into 128 linear bands (62.5 Hz each): a mel scale would
blur the upper bands, where vocoders leave their marks. Levels are relative to
the window's mean power, and each band's mean over time is taken off, so that
neither gain nor a fixed filter in the path says anything.
"""
from __future__ import annotations

import numpy as np
from scipy import fft

FRAME, HOP, SIZE, BANDS = 400, 160, 512, 128
FRAMES, HOP_FRAMES = 384, 192
WINDOW = FRAME + (FRAMES - 1) * HOP  # 61,680 samples
WINDOW_HOP = HOP_FRAMES * HOP  # 30,720 samples
FLOOR = float(np.log(1e6))  # 60 dB below the window's mean
TINY = 1e-10
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)


def features(window: np.ndarray) -> np.ndarray:
    """[128 bands, frames] of one window of float samples."""
    frames = (len(window) - FRAME) // HOP + 1
    view = np.lib.stride_tricks.as_strided(window, (frames, FRAME), (HOP * window.itemsize, window.itemsize))
    spectrum = fft.rfft(view * HANN, SIZE, axis=1)[:, 1 : 2 * BANDS + 1]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    band = power.reshape(frames, BANDS, 2).sum(axis=2)
    level = np.log(band + np.float32(TINY)) - np.float32(np.log(band.mean(dtype=np.float64) + TINY))
    level = np.maximum(level, np.float32(-FLOOR))
    level -= level.mean(axis=0)
    return np.ascontiguousarray(level.T)


def window_starts(length: int) -> list[int]:
    """Where a clip's windows start; the last one ends where the clip ends."""
    if length <= WINDOW:
        return [0]
    starts = list(range(0, length - WINDOW + 1, WINDOW_HOP))
    if starts[-1] + WINDOW < length:
        starts.append(length - WINDOW)
    return starts


def fill(samples: np.ndarray, length: int = WINDOW) -> np.ndarray:
    """Repeats a short clip until it fills a window."""
    if len(samples) >= length:
        return samples
    return np.tile(samples, -(-length // len(samples)))[:length]


def windows(samples: np.ndarray) -> list[np.ndarray]:
    """A clip's windows, as float samples."""
    return [fill(samples)[s : s + WINDOW] for s in window_starts(len(samples))]
