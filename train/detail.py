"""What 25 ms frames throw away of a window: fine structure in frequency and in time.

The spectrogram of frontend.py tells vocoders that blur from people. It cannot
see (1) lines and gaps in the long-term spectrum a few Hz wide, which upsampling
filters leave and a fixed microphone does not, (2) how periodic each band is,
and (3) whether the harmonics of a voice peak together, once a glottal pulse:
phases, in short. And what it can see but does not learn from few clips to look for is (4) the texture of
levels: how fast they go up and down in time and over frequency at once, and which
small steps follow each other. And (5) all that once more where it is quiet: how sounds die
away and what lies between them, a machine makes up as well. Here they are as 8,110 numbers for a window:
moments over its loud frames, and most of them over its quiet ones too. second.py trains a small network on
them, whose logit is added to that of model.py. Every constant is part of the format.

P(size, hop): frames of `size` samples under a periodic Hann window, from sample
0, no frame that leaves the window; powers of bins 1 to size / 2; to each is
added 1e-8 of the window's mean of all these powers (80 dB below) and 1e-12.
Logarithms are natural. Loud frames are those whose level exceeds the 95th
percentile (linear between ranks) less 3.5, i.e. 15 dB; `moments` are mean,
deviation + 1e-3, and third central moment over the cube of that, over the loud
frames. Frames of the window are quiet where the log of the mean of bins 3 to 56 plus 0.3 of the mean
of bins 57 to 128 of P(256, 64) lies 4 to 10 nats below its own 95th percentile (17 to 43 dB); another frame where that
of these is whose middle is nearest (of two the later one). Where none is quiet the loud ones stand in. The C engine has the same in src/nn/kernels/detail.inc; engine.py calls it.

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

Texture is measured on three pictures, from each bin of which its mean over the loud frames is taken off:
  pic          the input of model.py, 384 frames of 128 bands; loud as in sd
  mid          log of P(256, 64), 960 frames of 128 bins; level: log of the mean of bins 3 to 56
  short        log of P(64, 16), 3,852 frames of 32 bins; level: log of the mean of bins 2 to 14
  mod_*        two-dimensional modulation spectra. Patches of T frames x F bins, T / 2 frames apart and side by side over the bins,
               under the product of two periodic Hann windows; power of their two-dimensional DFT, those of t and T - t averaged;
               mean over the patches, weighted by the loud frames in them; log of that + 0.01. T x F is 16 x 16, 16 x 16 and
               32 x 8, so that 648, 648 and 340 numbers: [place][t to T / 2][f to F / 2]
  co_*    300  each: steps, divided by s, rounded (half to even) and cut to -2 ... 2; how often each of the 25 pairs of values stands side by
               side, in six parts of the bins (pair c of n belongs to part 6 c // n), as a share of the pairs, root of that + 0.001. First
               pairs one frame apart, where the later of the two frames is loud, then pairs one bin apart, where the frame is; frame
               i of the steps counts as frame i of the picture. co_bend: 4 x less all four neighbours, pic, s = 2. co_jerk: x less
               twice the next frame plus the one after, pic, s = 1. co_step: from bin to bin, mid, s = 1

Then all but fine and flat again in this order, over the quiet frames: 3,767. The pictures stay as they are.
"""
from __future__ import annotations

import numpy as np
from scipy import fft

from . import frontend

LONG, LONG_HOP, LONG_BINS, GROUP, SMOOTH = 2048, 640, 1024, 16, 8
SHORT, SHORT_HOP, SHORT_BINS, BLOCK = 64, 16, 32, 25
MID, MID_HOP = 256, 64
LOUD = np.float32(3.5)
QUIET = (np.float32(4), np.float32(10))
HISS = np.float32(0.3)  # of a fricative's energy counts: else it would be quiet
PARTS, CUT = 6, 2
ONCE = {"fine": 384, "flat": 192}
TWICE = {"pulse": 96, "coh": 96, "nb1": 93, "nb4": 84, "asym": 96, "sd": 256, "dt": 256, "df": 254, "mod_pic": 648, "mod_mid": 648, "mod_short": 340, "co_bend": 300, "co_jerk": 300, "co_step": 300}
COUNT = sum(ONCE.values()) + 2 * sum(TWICE.values())
Parts = dict[str, list[np.ndarray]]  # rows of numbers by name
WINDOWS = {n: (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32) for n in (8, 16, 32, SHORT, MID, LONG)}


def powers(x: np.ndarray, size: int, hop: int) -> np.ndarray:
    """[frames, size / 2]: bins 1 to size / 2."""
    count = (len(x) - size) // hop + 1
    view = np.lib.stride_tricks.as_strided(x, (count, size), (hop * x.itemsize, x.itemsize))
    spectrum = fft.rfft(view * WINDOWS[size], axis=1)[:, 1:]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power + np.float32(power.mean(dtype=np.float64) * 1e-8 + 1e-12)


def top(level: np.ndarray) -> np.floating:
    return np.quantile(level, 0.95)


def even(which: np.ndarray) -> np.ndarray:
    """Weights of frames; their sum is 1."""
    return which.astype(np.float32) / np.float32(which.sum())


def loud(level: np.ndarray) -> np.ndarray:
    return even(level > top(level) - LOUD)


def quiet(power: np.ndarray) -> np.ndarray:
    """Which of the middle frames are."""
    level = np.log(power[:, 2:56].mean(axis=1) + HISS * power[:, 56:].mean(axis=1))
    below = top(level) - level
    return (below >= QUIET[0]) & (below < QUIET[1])


def both(weight: np.ndarray, quiet: np.ndarray, size: int, hop: int) -> list[np.ndarray]:
    """Weights of the loud frames and of the quiet ones."""
    nearest = (2 * hop * np.arange(len(weight)) + size - MID + MID_HOP) // (2 * MID_HOP)
    here = quiet[np.clip(nearest, 0, len(quiet) - 1)]
    return [weight, even(here) if here.any() else weight]


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


def flattened(level: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A picture without its mean over the loud frames."""
    return np.ascontiguousarray(level - weight @ level)


def modulation(level: np.ndarray, weights: list[np.ndarray], frames: int, bins: int) -> list[list[np.ndarray]]:
    """Mean two-dimensional spectrum of the patches of a picture, its logarithm, once for each row of weights."""
    count, places = (len(level) - frames) // (frames // 2) + 1, level.shape[1] // bins
    by_frame, by_bin = level.strides
    patches = np.lib.stride_tricks.as_strided(level, (count, places, frames, bins), (frames // 2 * by_frame, bins * by_bin, by_frame, by_bin))
    spectrum = fft.rfft2(patches * np.outer(WINDOWS[frames], WINDOWS[bins]), axes=(2, 3))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power[:, :, 1 : frames // 2] = (power[:, :, 1 : frames // 2] + power[:, :, : frames // 2 : -1]) / 2
    power = power[:, :, : frames // 2 + 1].reshape(count, -1)
    share = np.stack([np.lib.stride_tricks.sliding_window_view(w > 0, frames)[:: frames // 2].sum(axis=1) for w in weights])
    share = (share / np.maximum(share.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    return [[row] for row in np.log(share @ power + np.float32(0.01))]


def pairs(steps: np.ndarray, size: float, weights: list[np.ndarray]) -> list[list[np.ndarray]]:
    """How often which small step stands beside which, in time and over the bins, once for each row of weights."""
    value = np.clip(np.rint(steps / np.float32(size)), -CUT, CUT).astype(np.int32) + CUT
    width, out = 2 * CUT + 1, [[] for _ in weights]
    for first, second, skip in ((value[:-1], value[1:], 1), (value[:, :-1], value[:, 1:], 0)):
        part = np.arange(first.shape[1]) * PARTS // first.shape[1]
        which = first * width + second + part * width**2
        for row, weight in zip(out, weights):
            ours = which[weight[skip : len(value)] > 0]
            counts = np.bincount(ours.ravel(), minlength=PARTS * width**2).reshape(PARTS, -1)
            row.append(np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) + 1e-3).astype(np.float32).ravel())
    return out


def middle_frames(power: np.ndarray, quiet: np.ndarray) -> list[Parts]:
    weight = loud(np.log(power[:, 2:56].mean(axis=1)))
    level, weights = flattened(np.log(power), weight), both(weight, quiet, MID, MID_HOP)
    return [{"mod_mid": m, "co_step": c} for m, c in zip(modulation(level, weights, 16, 16), pairs(level[:, 1:] - level[:, :-1], 1, weights))]


def short_frames(x: np.ndarray, quiet: np.ndarray) -> list[Parts]:
    power = powers(x, SHORT, SHORT_HOP)
    level = np.log(power)
    weight = loud(np.log(power[:, 1:14].mean(axis=1)))
    texture = modulation(flattened(level, weight), both(weight, quiet, SHORT, SHORT_HOP), 32, 8)
    blocks = len(power) // BLOCK
    power, level = (a[: blocks * BLOCK].reshape(blocks, BLOCK, SHORT_BINS) for a in (power, level))
    weights = both(loud(np.log(power[:, :, 1:14].mean(axis=(1, 2)))), quiet, SHORT_HOP * BLOCK, SHORT_HOP * BLOCK)
    mean = level.mean(axis=1)
    off = level - mean[:, None]
    z = off / (np.sqrt(np.square(off).mean(axis=1)) + np.float32(0.05))[:, None]
    voice = z[:, :, 1:12].mean(axis=2)
    voice /= np.sqrt(np.square(voice).mean(axis=1, keepdims=True)) + np.float32(0.05)
    step = level[:, 1:] - level[:, :-1]
    square = step * step
    rows = {
        "pulse": np.log(power.mean(axis=1)) - mean,
        "coh": (z * voice[:, :, None]).mean(axis=1),
        "nb1": (z[:, :, 1:] * z[:, :, :-1]).mean(axis=1),
        "nb4": (z[:, :, 4:] * z[:, :, :-4]).mean(axis=1),
        "asym": (square * step).mean(axis=1) / (square.mean(axis=1) ** np.float32(1.5) + np.float32(0.05)),
    }
    return [{name: moments(values, w) for name, values in rows.items()} | {"mod_short": m} for w, m in zip(weights, texture)]


def picture(x: np.ndarray, quiet: np.ndarray) -> list[Parts]:
    y = frontend.features(x).T
    weight = loud(y[:, 4:60].mean(axis=1))
    flat, weights = flattened(y, weight), both(weight, quiet, frontend.FRAME, frontend.HOP)
    bend = 4 * flat[1:-1, 1:-1] - flat[:-2, 1:-1] - flat[2:, 1:-1] - flat[1:-1, :-2] - flat[1:-1, 2:]
    jerk = flat[2:] - 2 * flat[1:-1] + flat[:-2]
    in_time, over_bands = np.abs(y[1:] - y[:-1]), np.abs(y[:, 1:] - y[:, :-1])
    return [
        {"sd": moments(y, w)[1:], "dt": moments(in_time, w[1:])[:2], "df": moments(over_bands, w)[:2], "mod_pic": m, "co_bend": b, "co_jerk": j}
        for w, m, b, j in zip(weights, modulation(flat, weights, 16, 16), pairs(bend, 2, weights), pairs(jerk, 1, weights))
    ]


def numbers(x: np.ndarray) -> np.ndarray:
    """The 8,110 numbers of a window of float samples."""
    x = np.ascontiguousarray(x, np.float32)
    middle = powers(x, MID, MID_HOP)
    where = quiet(middle)
    once = long_frames(x)
    twice = [a | b | c for a, b, c in zip(short_frames(x, where), middle_frames(middle, where), picture(x, where))]
    parts = [v for name in ONCE for v in once[name]] + [v for kind in twice for name in TWICE for v in kind[name]]
    return np.concatenate(parts).astype(np.float32)
