"""What 25 ms frames throw away of a window: fine structure in frequency and in time.

The spectrogram of frontend.py tells vocoders that blur from people. It cannot
see (1) lines and gaps in the long-term spectrum a few Hz wide, which upsampling
filters leave and a fixed microphone does not, (2) how periodic each band is,
and (3) whether the harmonics of a voice peak together, once a glottal pulse:
phases, in short. Here they are as 1,807 numbers for a window, most of them
moments over its loud frames; second.py trains a small network on them, whose logit is
added to that of model.py. Every constant is part of the format.

P(size, hop): frames of `size` samples under a periodic Hann window, from sample
0, no frame that leaves the window; powers of bins 1 to size / 2; to each is
added 1e-8 of the window's mean of all these powers (80 dB below) and 1e-12.
Logarithms are natural. Loud frames are those whose level exceeds the 95th
percentile (linear between ranks) less 3.5, i.e. 15 dB; `moments` are mean,
deviation + 1e-3, and third central moment over the cube of that, over the loud
frames. The C engine has the same in src/nn/kernels/detail.inc.

Order, and numbers of each:
  fine    384  P(2048, 640), 94 frames, level: log of the mean of bins 26 to 449. The log power's mean over the loud frames, then
               over all; from it its mean over 17 bins around (the edge bins repeated); per 16 bins deviation, largest, smallest
  flat    192  per 16 bins of the same, log of the mean less mean of the log: moments (0.58 in noise, more with harmonics)
  pulse    96  P(64, 16) in 154 blocks of 25 frames, level: log of the mean of bins 2 to 14. Per bin, log of the mean less mean of
               the log over the block: moments
  coh      96  per bin, the block's log powers less their mean over (their deviation + 0.05), z; the mean of z over bins 2 to 12
               over (its root mean square + 0.05), r; mean of z r over the block: moments
  nb1      93  mean over the block of z of a bin and the next one: moments
  nb4      84  and of the fourth next
  asym     96  differences d from frame to frame of the log power; mean of d^3 over (mean of d^2)^1.5 + 0.05: moments
  sd      256  the input of model.py, level: mean of bands 4 to 59 (from 0): its deviation and third moment
  dt      256  its absolute differences from frame to frame (the later one says whether it is loud; the first frame's share
               of the weights is lost): mean, deviation
  df      254  and from band to band
"""
from __future__ import annotations

import numpy as np
from scipy import fft

from . import frontend

LONG, LONG_HOP, LONG_BINS, GROUP, SMOOTH = 2048, 640, 1024, 16, 8
SHORT, SHORT_HOP, SHORT_BINS, BLOCK = 64, 16, 32, 25
LOUD = np.float32(3.5)
SIZES = {"fine": 384, "flat": 192, "pulse": 96, "coh": 96, "nb1": 93, "nb4": 84, "asym": 96, "sd": 256, "dt": 256, "df": 254}
COUNT = sum(SIZES.values())
WINDOWS = {n: (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32) for n in (SHORT, LONG)}


def powers(x: np.ndarray, size: int, hop: int) -> np.ndarray:
    """[frames, size / 2]: bins 1 to size / 2."""
    count = (len(x) - size) // hop + 1
    view = np.lib.stride_tricks.as_strided(x, (count, size), (hop * x.itemsize, x.itemsize))
    spectrum = fft.rfft(view * WINDOWS[size], axis=1)[:, 1:]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power + np.float32(power.mean(dtype=np.float64) * 1e-8 + 1e-12)


def loud(level: np.ndarray) -> np.ndarray:
    """Weights of frames; their sum is 1."""
    weight = (level > np.quantile(level, 0.95) - LOUD).astype(np.float32)
    return weight / weight.sum()


def moments(values: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
    """Mean, deviation and skewness of each column."""
    mean = weight @ values
    off = values - mean
    square = off * off
    deviation = np.sqrt(weight @ square) + np.float32(1e-3)
    return [mean, deviation, (weight @ (square * off)) / deviation**3]


def fine(row: np.ndarray) -> list[np.ndarray]:
    """How far a long-term spectrum departs from its own smoothed self."""
    wide = 2 * SMOOTH + 1
    total = np.cumsum(np.pad(row, (SMOOTH + 1, SMOOTH), mode="edge").astype(np.float64))
    rest = (row - ((total[wide:] - total[:-wide]) / wide).astype(np.float32)).reshape(-1, GROUP)
    return [rest.std(axis=1), rest.max(axis=1), rest.min(axis=1)]


def long_frames(x: np.ndarray) -> dict[str, list[np.ndarray]]:
    power = powers(x, LONG, LONG_HOP)
    level = np.log(power)
    weight = loud(np.log(power[:, 25:449].mean(axis=1)))
    grouped = (len(power), LONG_BINS // GROUP, GROUP)
    flat = np.log(power.reshape(grouped).mean(axis=2)) - level.reshape(grouped).mean(axis=2)
    return {"fine": fine(weight @ level) + fine(level.mean(axis=0)), "flat": moments(flat, weight)}


def short_frames(x: np.ndarray) -> dict[str, list[np.ndarray]]:
    power = powers(x, SHORT, SHORT_HOP)
    blocks = len(power) // BLOCK
    power = power[: blocks * BLOCK].reshape(blocks, BLOCK, SHORT_BINS)
    level = np.log(power)
    weight = loud(np.log(power[:, :, 1:14].mean(axis=(1, 2))))
    mean = level.mean(axis=1)
    off = level - mean[:, None]
    z = off / (np.sqrt(np.square(off).mean(axis=1)) + np.float32(0.05))[:, None]
    voice = z[:, :, 1:12].mean(axis=2)
    voice /= np.sqrt(np.square(voice).mean(axis=1, keepdims=True)) + np.float32(0.05)
    step = level[:, 1:] - level[:, :-1]
    square = step * step
    asym = (square * step).mean(axis=1) / (square.mean(axis=1) ** np.float32(1.5) + np.float32(0.05))
    return {
        "pulse": moments(np.log(power.mean(axis=1)) - mean, weight),
        "coh": moments((z * voice[:, :, None]).mean(axis=1), weight),
        "nb1": moments((z[:, :, 1:] * z[:, :, :-1]).mean(axis=1), weight),
        "nb4": moments((z[:, :, 4:] * z[:, :, :-4]).mean(axis=1), weight),
        "asym": moments(asym, weight),
    }


def picture(x: np.ndarray) -> dict[str, list[np.ndarray]]:
    y = frontend.features(x).T
    weight = loud(y[:, 4:60].mean(axis=1))
    return {
        "sd": moments(y, weight)[1:],
        "dt": moments(np.abs(y[1:] - y[:-1]), weight[1:])[:2],
        "df": moments(np.abs(y[:, 1:] - y[:, :-1]), weight)[:2],
    }


def numbers(x: np.ndarray) -> np.ndarray:
    """The 1,807 numbers of a window of float samples."""
    x = np.ascontiguousarray(x, np.float32)
    parts = {**long_frames(x), **short_frames(x), **picture(x)}
    return np.concatenate([v for name in SIZES for v in parts[name]]).astype(np.float32)
