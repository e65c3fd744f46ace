"""Random changes to a clip that say nothing about who or what spoke.

Each one stands for something that real recordings go through: a room, a
microphone, a telephone, a noisy street, a level set by hand, an editor who
cuts the silence. All are drawn alike for both labels, so that none of them can
become a sign of either. Three in ten clips stay as they are, since real files
are often clean too.
"""
from __future__ import annotations

import numpy as np
from scipy import fft

from . import frontend
from .frontend import WINDOW

RATE = 16000
TAIL = 6000  # room for a reverberation's tail in the circular convolution
SIZE = fft.next_fast_len(WINDOW + TAIL, real=True)
FREQ = np.fft.rfftfreq(SIZE, 1 / RATE).astype(np.float32)
PLAIN = 0.3


def noise_bank(rng: np.random.Generator, count: int = 24) -> list[np.ndarray]:
    """Stationary noises of random colour, and mains hum, 12 s each."""
    length = 12 * RATE
    freq = np.fft.rfftfreq(length, 1 / RATE)
    freq[0] = freq[1]
    bank = []
    for n in range(count):
        noise = fft.rfft(rng.standard_normal(length).astype(np.float32))
        if n >= count // 3:  # the first third stays white, the rest falls by 0 to 9 dB an octave
            noise *= (np.maximum(freq, 40) ** -rng.uniform(0, 1.5)).astype(np.float32)
        if n >= 2 * count // 3:  # a resonance or two: fans, engines, streets
            for _ in range(rng.integers(1, 4)):
                centre, width = np.exp(rng.uniform(np.log(80), np.log(6000))), rng.uniform(0.1, 0.8)
                noise *= (1 + rng.uniform(1, 8) * np.exp(-((np.log(freq / centre) / width) ** 2))).astype(np.float32)
        bank.append(fft.irfft(noise, length).astype(np.float32))
    time = np.arange(length) / RATE
    for mains in (50, 60):
        hum = sum(rng.uniform(0.1, 1) / k * np.sin(2 * np.pi * mains * k * time + rng.uniform(0, 6.3)) for k in range(1, 12))
        bank.append((hum + 0.02 * rng.standard_normal(length)).astype(np.float32))
    return [b / np.sqrt(np.mean(b * b)) for b in bank]


def crop(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    """A random stretch of the clip, repeated to a window's length.

    A clip is never taken whole to the sample: vocoders write whole frames, and
    the length would give them away.
    """
    want = WINDOW if rng.random() < 0.75 else int(rng.uniform(2.0 * RATE, WINDOW))
    want = min(want, int(len(samples) * rng.uniform(0.9, 0.995)))
    start = rng.integers(0, len(samples) - want + 1)
    return frontend.fill(samples[start : start + want].astype(np.float32) * np.float32(1 / 32768))


def silence(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Pause put in at the start, the end or anywhere; digital or nearly so."""
    length = int(rng.uniform(0.05, 0.8) * RATE)
    level = 0.0 if rng.random() < 0.6 else 10 ** rng.uniform(-5, -3.3)
    pause = (level * rng.standard_normal(length)).astype(np.float32)
    at = (0, WINDOW, int(rng.integers(0, WINDOW)))[rng.integers(3)]
    return np.concatenate([x[:at], pause, x[at:]])[:WINDOW] if at < WINDOW else np.concatenate([x[length:], pause])


def speed(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A resampling by up to 6 %, as a wrong clock or an editor does it."""
    factor = rng.uniform(0.94, 1.06)
    size = int(len(x) / factor) & ~1
    size = fft.next_fast_len(size, real=True)
    spectrum = fft.rfft(x, fft.next_fast_len(len(x), real=True))
    # A real resampler keeps the band edge; cut or pad the spectrum.
    want = size // 2 + 1
    out = np.zeros(want, np.complex64)
    out[: min(want, len(spectrum))] = spectrum[: min(want, len(spectrum))]
    return frontend.fill(fft.irfft(out, size).astype(np.float32))[:WINDOW]


def room(rng: np.random.Generator) -> np.ndarray:
    """Spectrum of a room: direct sound, and noise that dies away."""
    decay = np.exp(rng.uniform(np.log(0.08), np.log(0.8)))  # seconds for 60 dB
    length = min(TAIL, int(decay * RATE * 0.8))
    response = rng.standard_normal(length).astype(np.float32)
    response *= np.exp(-6.9 / (decay * RATE) * np.arange(length, dtype=np.float32))
    response[: rng.integers(1, 160)] = 0
    direct = 10 ** (rng.uniform(-3, 18) / 20)
    response *= 1 / max(1e-9, float(np.sqrt(np.sum(response**2)))) / direct
    response[0] = 1.0
    return fft.rfft(response, SIZE)


def equaliser(rng: np.random.Generator) -> np.ndarray:
    """A smooth random gain over frequency: microphones, loudspeakers, mixers."""
    knots = rng.integers(3, 9)
    gain = rng.normal(0, rng.uniform(1, 6), knots)
    return (10 ** (np.interp(FREQ, np.linspace(0, 8000, knots), gain) / 20)).astype(np.float32)


def band_limits(rng: np.random.Generator) -> np.ndarray:
    """A low-pass from 2.8 to 8 kHz, or a telephone's band."""
    low, high = 0.0, rng.uniform(2800, 7900)
    if rng.random() < 0.35:
        low, high = rng.uniform(100, 400), rng.uniform(3000, 4000)
    slope = rng.uniform(0.02, 0.15)
    gain = 1 / (1 + np.exp(np.clip((FREQ / high - 1) / slope * 4, -30, 30)))
    if low:
        gain *= 1 / (1 + np.exp(np.clip((1 - FREQ / low) / 0.15 * 2, -30, 30)))
    floor = 10 ** rng.uniform(-5, -2.5)
    return np.maximum(gain, floor).astype(np.float32)


def hard_or_soft_clip(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    top = np.quantile(np.abs(x[::7]), rng.uniform(0.93, 0.999)) + 1e-6
    return np.clip(x, -top, top) if rng.random() < 0.5 else (top * np.tanh(x / top)).astype(np.float32)


class Augmenter:
    """Holds the noises, and human clips for babble; makes one training input."""

    def __init__(self, seed: int, strength: float = 1.0) -> None:
        self.bank = noise_bank(np.random.default_rng([seed, 99]))
        self.strength = strength

    def noise(self, rng: np.random.Generator, babble) -> tuple[np.ndarray, float]:
        """WINDOW samples of unit power, and the lowest fitting SNR in dB."""
        if rng.random() < 0.3:
            voices = np.zeros(WINDOW, np.float32)
            for _ in range(rng.integers(2, 5)):
                voices += crop(rng, babble(rng))
            return voices / max(1e-6, float(np.sqrt(np.mean(voices * voices)))), 12.0
        noise = self.bank[rng.integers(len(self.bank))]
        start = rng.integers(0, len(noise) - WINDOW)
        return noise[start : start + WINDOW], 5.0

    def wave(self, rng: np.random.Generator, samples: np.ndarray, babble) -> np.ndarray:
        x = crop(rng, samples)
        if rng.random() < PLAIN:
            return x
        s = self.strength
        if rng.random() < 0.12 * s:
            x = speed(rng, x)
        if rng.random() < 0.15 * s:
            x = silence(rng, x)
        noise = None
        if rng.random() < 0.45 * s:
            noise, least = self.noise(rng, babble)
            power = float(np.mean(x * x)) + 1e-9
            noise = noise * np.float32(np.sqrt(power) * 10 ** (-rng.uniform(least, 40) / 20))
            if rng.random() < 0.5:  # in the room with the speaker, so it takes the same path
                x = x + noise
                noise = None
        gain: np.ndarray | None = None
        for chance, make in ((0.25, room), (0.5, equaliser), (0.35, band_limits)):
            if rng.random() < chance * s:
                response = make(rng)
                gain = response if gain is None else gain * response
        if gain is not None:
            x = fft.irfft(fft.rfft(x, SIZE) * gain, SIZE)[:WINDOW].astype(np.float32)
        if noise is not None:
            x = x + noise
        if rng.random() < 0.08 * s:
            x = hard_or_soft_clip(rng, x)
        if rng.random() < 0.6:  # a level, and 16 bits: quiet files lose their details
            peak = float(np.abs(x).max()) + 1e-6
            level = np.float32(10 ** (rng.uniform(-36, 4) / 20) / peak * 32767)
            x = np.clip(np.rint(x * level), -32768, 32767).astype(np.float32) / np.float32(32768)
        return x

    def masks(self, rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
        """Blanks bands and stretches of time; zero is each band's mean."""
        for _ in range(rng.integers(0, 3)):
            width = rng.integers(1, 24)
            start = rng.integers(0, y.shape[0] - width)
            y[start : start + width] = 0
        for _ in range(rng.integers(0, 3)):
            width = rng.integers(1, 48)
            start = rng.integers(0, y.shape[1] - width)
            y[:, start : start + width] = 0
        return y

    def __call__(self, rng: np.random.Generator, samples: np.ndarray, babble) -> np.ndarray:
        y = frontend.features(self.wave(rng, samples, babble))
        return self.masks(rng, y) if rng.random() < 0.5 * self.strength else y
