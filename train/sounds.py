"""Sounds that are no speech, made from random numbers: samples of any level, 16 kHz.

STEADY are what a speech gate alone must refuse; MOVING rise and fall as syllables do, which it takes for speech.
"""
from __future__ import annotations

import numpy as np
from scipy import signal

RATE = 16000
Rng = np.random.Generator


def time(n: int) -> np.ndarray:
    return np.arange(n) / RATE


def coloured(rng: Rng, n: int, slope: float) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power of -slope: 0 white, 0.5 pink, 1 brown."""
    spectrum, freq = np.fft.rfft(rng.standard_normal(n)), np.fft.rfftfreq(n, 1 / RATE)
    y = np.fft.irfft(spectrum * np.maximum(freq, 30) ** -slope, n)
    return y / y.std()


def any_noise(rng: Rng, n: int) -> np.ndarray:
    spectrum, freq = np.fft.rfft(rng.standard_normal(n)), np.fft.rfftfreq(n, 1 / RATE)
    freq[0] = freq[1]
    spectrum *= np.maximum(freq, 40) ** -rng.uniform(0, 1.3)
    for _ in range(rng.integers(0, 3)):  # resonances: fans, engines, streets
        centre, width = np.exp(rng.uniform(np.log(80), np.log(6000))), rng.uniform(0.1, 0.8)
        spectrum *= 1 + rng.uniform(1, 8) * np.exp(-((np.log(freq / centre) / width) ** 2))
    y = np.fft.irfft(spectrum, n)
    return y / y.std()


def under(rng: Rng, n: int) -> np.ndarray:
    """What lies under everything."""
    return 10 ** rng.uniform(-5, -2) * rng.standard_normal(n)


def wander(rng: Rng, n: int, rate: float, spread: float) -> np.ndarray:
    """A level that goes from one random value to the next `rate` times a second."""
    knots = np.exp(rng.normal(0, spread, int(n / RATE * rate) + 3))
    return np.interp(time(n), np.arange(len(knots)) / rate, knots)


def tone(rng: Rng, n: int) -> np.ndarray:
    return np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(6000))) * time(n))


def hum(rng: Rng, n: int) -> np.ndarray:
    mains = rng.choice([50, 60])
    return sum(rng.uniform(0.1, 1) / k * np.sin(2 * np.pi * mains * k * time(n) + rng.uniform(0, 6.3)) for k in range(1, 12)) + 0.01 * rng.standard_normal(n)


def sweep(rng: Rng, n: int) -> np.ndarray:
    low, high = np.sort(rng.uniform(100, 7000, 2))
    return signal.chirp(time(n), low, n / RATE, high)


def ringback(rng: Rng, n: int) -> np.ndarray:
    on, off = (1, 4) if rng.random() < 0.5 else (2, 4)
    return (np.sin(2 * np.pi * 425 * time(n)) + (np.sin(2 * np.pi * 480 * time(n)) if on == 2 else 0)) * (time(n) % (on + off) < on)


def clicks(rng: Rng, n: int) -> np.ndarray:
    y = 1e-4 * rng.standard_normal(n)
    for start in range(0, n - 40, int(rng.uniform(0.05, 1) * RATE)):
        y[start : start + 32] = rng.standard_normal(32)
    return y


def waving(rng: Rng, n: int) -> np.ndarray:
    depth = rng.uniform(0.5, 1)
    return any_noise(rng, n) * (1 - 0.5 * depth + 0.5 * depth * np.sin(2 * np.pi * rng.uniform(0.2, 9) * time(n)))


def chopped(rng: Rng, n: int) -> np.ndarray:
    period = rng.uniform(0.1, 1.5)
    return any_noise(rng, n) * (time(n) % period < period * rng.uniform(0.15, 0.85)) + under(rng, n)


def bursts(rng: Rng, n: int) -> np.ndarray:
    y, start = under(rng, n), 0
    while start < n - 800:
        length = min(int(rng.uniform(0.01, 0.4) * RATE), n - start)
        y[start : start + length] += any_noise(rng, max(length, 64))[:length] * np.exp(-np.arange(length) / length * rng.uniform(0, 5)) * rng.uniform(0.2, 1)
        start += int(rng.uniform(0.05, 0.9) * RATE)
    return y


def crackle(rng: Rng, n: int) -> np.ndarray:
    y, at = np.zeros(n), rng.integers(0, n, int(n / RATE * np.exp(rng.uniform(np.log(3), np.log(120)))))
    y[at] = rng.standard_normal(len(at))
    return signal.lfilter([1], [1, -rng.uniform(0, 0.95)], y) + under(rng, n)


def surf(rng: Rng, n: int) -> np.ndarray:
    return any_noise(rng, n) * wander(rng, n, rng.uniform(0.5, 8), rng.uniform(0.5, 1.8))


def digits(rng: Rng, n: int) -> np.ndarray:
    low, high = [697, 770, 852, 941], [1209, 1336, 1477, 1633]
    y, start, on, off = under(rng, n), 0, rng.uniform(0.05, 0.2), rng.uniform(0.04, 0.2)
    while start < n:
        k = min(n - start, int(on * RATE))
        y[start : start + k] += np.sin(2 * np.pi * rng.choice(low) * time(k)) + np.sin(2 * np.pi * rng.choice(high) * time(k))
        start += k + int(off * RATE)
    return y


def beeps(rng: Rng, n: int) -> np.ndarray:
    y, start = under(rng, n), 0
    while start < n:
        k = min(n - start, int(rng.uniform(0.04, 0.5) * RATE))
        for _ in range(rng.integers(1, 4)):
            y[start : start + k] += np.sin(2 * np.pi * np.exp(rng.uniform(np.log(250), np.log(4000))) * time(k))
        start += k + int(rng.uniform(0.03, 0.6) * RATE)
    return y


def busy(rng: Rng, n: int) -> np.ndarray:
    period, share, first = rng.uniform(0.1, 6), rng.uniform(0.1, 0.7), rng.uniform(250, 2500)
    both = np.sin(2 * np.pi * first * time(n)) + np.sin(2 * np.pi * first * rng.uniform(0.5, 2) * time(n))
    return both * (time(n) % period < period * share) + under(rng, n)


def siren(rng: Rng, n: int) -> np.ndarray:
    centre, depth, rate = rng.uniform(400, 1600), rng.uniform(50, 700), rng.uniform(0.1, 8)
    level = wander(rng, n, 4, 1) if rng.random() < 0.5 else 1
    return np.sin(2 * np.pi * centre * time(n) - depth / rate * np.cos(2 * np.pi * rate * time(n))) * level + under(rng, n)


def motor(rng: Rng, n: int) -> np.ndarray:
    phase = np.cumsum(30 + 20 * wander(rng, n, 1, 0.5)) / RATE * 2 * np.pi
    return sum(rng.uniform(0.1, 1) / k * np.sin(k * phase) for k in range(1, 25)) * wander(rng, n, 3, 0.5) + 0.2 * any_noise(rng, n)


def drops(rng: Rng, n: int) -> np.ndarray:
    y, start = under(rng, n), 0
    while start < n - 4000:
        k = int(rng.uniform(0.02, 0.2) * RATE)
        pitch = rng.uniform(300, 3500) * (time(k) + rng.uniform(-2, 2) * time(k) ** 2)
        y[start : start + k] += np.sin(2 * np.pi * pitch) * np.exp(-6 * np.arange(k) / k) * rng.uniform(0.2, 1)
        start += int(rng.uniform(0.03, 0.5) * RATE)
    return y


def melody(rng: Rng, n: int) -> np.ndarray:
    """Notes or chords of a few overtones, plucked or held: ringtones, toys, old games."""
    y, start, notes = under(rng, n), 0, np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12
    beat, overtones, fade, voices = rng.uniform(0.08, 0.6), int(rng.integers(1, 9)), rng.uniform(0, 10), int(rng.integers(1, 4))
    base, fall = rng.uniform(150, 700), rng.uniform(0.5, 2)
    while start < n:
        k = min(n - start, int(beat * RATE * rng.choice([1, 1, 2])))
        for _ in range(voices):
            pitch = base * 2 ** rng.choice(notes)
            tones = sum(np.sin(2 * np.pi * pitch * h * time(k)) / h**fall for h in range(1, overtones + 1) if pitch * h < 7800)
            y[start : start + k] += tones * (0.15 + 0.85 * np.exp(-fade * time(k)))
        start += k
    return y


STEADY = {
    "white noise": lambda rng, n: coloured(rng, n, 0), "pink noise": lambda rng, n: coloured(rng, n, 0.5), "brown noise": lambda rng, n: coloured(rng, n, 1),
    "tone": tone, "hum": hum, "sweep": sweep, "ringback": ringback, "clicks": clicks,
}
MOVING = {
    "waving noise": waving, "chopped noise": chopped, "bursts": bursts, "crackle": crackle, "surf": surf, "dialled digits": digits, "beeps": beeps,
    "busy tone": busy, "siren": siren, "motor": motor, "drops": drops, "melody": melody,
}
