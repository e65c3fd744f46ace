"""Makes music of random numbers, which train.gate teaches the program to tell from speech.

    python3 -m train.music FOLDER [--font NAME=FILE.sf2 ...] [--pieces 100]

Melodies, chords, basses, drums in any mixture, some forty seconds each. FOLDER/own is played by instruments of our own:
plucked, bowed, blown, struck and electronic ones; FOLDER/NAME by FluidSynth with that sound font. Pieces and instruments
hang on the piece's number and folder alone. Nothing here sings.
"""
from __future__ import annotations

import argparse
import struct
import subprocess
import tempfile
import wave
import zlib
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy import signal

from .sounds import RATE, Rng, time

SECONDS = 42
MODES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), (0, 1, 4, 5, 7, 8, 11), tuple(range(12)))
DRUMS = 9  # MIDI's channel for them
KICK, SNARE, CLAP, LOW_TOM, HAT, OPEN_HAT, TOM, CRASH, RIDE, SHAKER = 36, 38, 39, 41, 42, 46, 47, 49, 51, 70
# General MIDI programs, from 0: who may play what.
LEAD = [*range(0, 16), *range(21, 32), *range(40, 48), *range(56, 80), *range(80, 88), *range(104, 112)]
CHORDS = [*range(0, 32), 46, *range(48, 55), *range(61, 64), *range(80, 96)]
BASS = list(range(32, 40))


@dataclass(frozen=True)
class Note:
    start: float  # seconds
    length: float
    pitch: int  # MIDI: 69 is 440 Hz; of drums, which one
    loud: float  # 0 to 1


@dataclass(frozen=True)
class Part:
    program: int
    notes: list[Note]
    drums: bool = False


class Frame:
    """What the parts of a piece share: pace, bars, scale, harmony."""

    def __init__(self, rng: Rng) -> None:
        self.beat = 60 / np.exp(rng.uniform(np.log(55), np.log(190)))
        self.beats = int(rng.choice([4, 4, 4, 3, 6]))
        self.bars = int(np.ceil(SECONDS / (self.beat * self.beats)))
        self.root, self.mode = int(rng.integers(45, 57)), MODES[rng.choice(len(MODES), p=[0.3, 0.25, 0.1, 0.15, 0.08, 0.06, 0.06])]
        circle = rng.integers(0, len(self.mode), int(rng.choice([1, 2, 4, 4, 8])))
        self.harmony = [int(circle[n % len(circle)]) for n in range(self.bars)]
        self.swing, self.human = (rng.uniform(0.1, 0.33) if rng.random() < 0.3 else 0.0), rng.uniform(0, 0.015)

    def pitch(self, step: int) -> int:
        return self.root + 12 * (step // len(self.mode)) + self.mode[step % len(self.mode)]

    def note(self, rng: Rng, bar: int, beat: float, length: float, pitch: int, loud: float) -> Note:
        late = self.swing * self.beat if abs(beat % 1 - 0.5) < 0.01 else 0
        start = (bar * self.beats + beat) * self.beat + late + rng.normal(0, self.human)
        return Note(max(0.0, start), max(0.03, length * self.beat), pitch, float(np.clip(loud + rng.normal(0, 0.06), 0.1, 1)))


def rhythm(rng: Rng, beats: int, choice: tuple[float, ...]) -> list[tuple[float, float]]:
    """Starts and lengths that fill a bar."""
    out, at = [], 0.0
    while at < beats - 0.01:
        length = min(float(rng.choice(choice)), beats - at)
        out.append((at, length))
        at += length
    return out


def melody(rng: Rng, f: Frame) -> list[Note]:
    choice = [(0.5, 1.0), (0.25, 0.5, 0.5), (0.5, 1.0, 1.5, 2.0), (1.0, 2.0, 4.0), (1 / 3, 2 / 3, 1.0)][rng.integers(5)]
    bars = [rhythm(rng, f.beats, choice) for _ in range(rng.integers(1, 4))]
    rests, held, leap, octave = rng.uniform(0, 0.35), rng.uniform(0.3, 1.1), rng.uniform(0.8, 3), int(rng.integers(0, 3))
    step, out = 0, []
    motif = [int(round(rng.normal(0, leap))) for _ in range(64)]
    for bar in range(f.bars):
        if rng.random() < 0.2:
            step = f.harmony[bar]
        for n, (at, length) in enumerate(bars[bar % len(bars)]):
            step = int(np.clip(step + (motif[n] if rng.random() < 0.7 else round(rng.normal(0, leap))), -5, 12))
            if rng.random() >= rests:
                out.append(f.note(rng, bar, at, held * length, f.pitch(step) + 12 * octave, 0.75))
    return out


def chords(rng: Rng, f: Frame) -> list[Note]:
    tones, way, out = int(rng.integers(2, 6)), int(rng.integers(4)), []
    pattern, held, octave = rhythm(rng, f.beats, [(1.0,), (0.5,), (0.5, 1.0, 1.5), (2.0, 4.0)][rng.integers(4)]), rng.uniform(0.3, 1.0), int(rng.integers(0, 2))
    each = float([0.25, 0.5, 1 / 3][rng.integers(3)]) if way == 0 else 0.0
    order = [*range(tones)] if tones <= 3 else [*range(tones - 1, -1, -1), *range(1, tones - 1)]  # up; or down and up
    for bar in range(f.bars):
        chord = [f.pitch(f.harmony[bar] + 2 * k) + 12 * octave for k in range(tones)]
        if way == 0:  # one after the other
            out += [f.note(rng, bar, n * each, each * 2 * held, chord[order[n % len(order)]], 0.6) for n in range(int(f.beats / each))]
        elif way == 1:  # held for the bar
            out += [f.note(rng, bar, 0, f.beats, p, 0.55) for p in chord]
        else:  # struck together, or strummed
            spread = 0.0 if way == 2 else 0.04
            out += [f.note(rng, bar, at + k * spread, held * length, p, 0.6) for at, length in pattern for k, p in enumerate(chord)]
    return out


def bass(rng: Rng, f: Frame) -> list[Note]:
    pattern, fifth, held = rhythm(rng, f.beats, [(1.0,), (0.5,), (0.5, 1.0, 1.5), (2.0, 4.0)][rng.integers(4)]), rng.uniform(0, 0.5), rng.uniform(0.4, 1)
    return [f.note(rng, bar, at, held * length, f.pitch(f.harmony[bar] + (4 if at and rng.random() < fifth else 0)) - 12, 0.8) for bar in range(f.bars) for at, length in pattern]


def drums(rng: Rng, f: Frame) -> list[Note]:
    out, grid = [], int(rng.choice([2, 2, 4, 3]))
    slots = f.beats * grid
    use = {KICK: rng.uniform(0.1, 0.4), SNARE: rng.uniform(0.05, 0.3), HAT: rng.uniform(0, 1), SHAKER: rng.choice([0, 0, 0.8]), TOM: rng.uniform(0, 0.1), LOW_TOM: rng.uniform(0, 0.1),
           CLAP: rng.choice([0, 0, 0.1]), OPEN_HAT: rng.uniform(0, 0.1), RIDE: rng.choice([0, 0, 0.4]), CRASH: 0.01}
    beat = {drum: rng.random(slots) < share for drum, share in use.items()}
    if rng.random() < 0.7:  # what most bands do
        beat[KICK][0], beat[SNARE][grid % slots] = True, True
        beat[SNARE][(f.beats - 1) * grid] = True
    for bar in range(f.bars):
        for drum, hits in beat.items():
            for slot in range(slots):
                if hits[slot] != (rng.random() < 0.03):
                    out.append(f.note(rng, bar, slot / grid, 0.2, drum, 0.7 if slot % grid == 0 else 0.5))
    return out


def compose(rng: Rng) -> list[Part]:
    f = Frame(rng)
    parts: list[Part] = []
    while not parts:
        for make, programs, chance in ((melody, LEAD, 0.65), (melody, LEAD, 0.15), (chords, CHORDS, 0.5), (chords, CHORDS, 0.2), (bass, BASS, 0.45)):
            if rng.random() < chance:
                parts.append(Part(int(rng.choice(programs)), make(rng, f)))
        if rng.random() < 0.4:
            parts.append(Part(0, drums(rng, f), drums=True))
    return parts


# --- our own instruments: samples of one note


def envelope(n: int, rise: float, fall: float, release: float = 0.03) -> np.ndarray:
    t = time(n)
    return np.minimum(1, t / max(rise, 1e-3)) * np.exp(-fall * t) * np.minimum(1, (n - np.arange(n)) / (release * RATE))


def harmonics(hz: float, n: int, amplitudes: np.ndarray, vibrato: np.ndarray | float = 0.0) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(hz * (1 + vibrato) * np.ones(n)) / RATE
    return sum(a * np.sin(k * phase) for k, a in enumerate(amplitudes, 1) if k * hz < 7600)


class Instrument:
    def __init__(self, rng: Rng) -> None:
        self.kind = str(rng.choice(["pluck", "struck", "blown", "bowed", "fm", "chip"]))
        self.bright, self.fall, self.rise = rng.uniform(0.4, 2), np.exp(rng.uniform(np.log(0.3), np.log(9))), rng.uniform(0.005, 0.12)
        self.depth, self.rate, self.noise = rng.uniform(0, 0.012), rng.uniform(4, 7), rng.uniform(0, 0.06)
        self.ratio, self.index, self.damp = float(rng.choice([1, 2, 3, 1.41, 3.5, 0.5])), rng.uniform(0.5, 6), rng.uniform(0.985, 0.999)
        shape = np.arange(1, 31.0) ** -self.bright * np.exp(rng.normal(0, 0.5, 30))
        self.shape = shape * (np.arange(30) % 2 == 0) if rng.random() < 0.25 else shape

    def play(self, rng: Rng, note: Note) -> np.ndarray:
        hz, t = 440 * 2 ** ((note.pitch - 69) / 12), time(int((note.length + (1.0 if self.kind in ("pluck", "struck") else 0.06)) * RATE))
        n = len(t)
        wave_ = self.depth * np.minimum(1, t / 0.4) * np.sin(2 * np.pi * self.rate * t + rng.uniform(0, 6))
        if self.kind == "pluck":  # Karplus and Strong's string
            period = max(2, int(round(RATE / hz)))
            strike = np.zeros(n)
            strike[: min(period, n)] = rng.uniform(-1, 1, min(period, n))
            y = signal.lfilter([1], np.r_[1, np.zeros(period - 1), -self.damp / 2, -self.damp / 2], strike) * envelope(n, 0.001, 0.3)
        elif self.kind == "struck":
            y = sum(a * np.sin(2 * np.pi * k * hz * (1 + 2e-4 * k * k) * t) * np.exp(-self.fall * (0.5 + 0.3 * k) * t) for k, a in enumerate(self.shape[:16], 1) if k * hz < 7000) * envelope(n, 0.002, 0)
        elif self.kind == "blown":
            y = harmonics(hz, n, self.shape[:14], wave_) + self.noise * signal.lfilter([1], [1, -0.6], rng.standard_normal(n))
            y = y * envelope(n, self.rise, 0.1, 0.06)
        elif self.kind == "bowed":
            y = signal.lfilter([1], [1, -0.7], harmonics(hz, n, 1 / np.arange(1, 31.0), wave_) + self.noise * rng.standard_normal(n)) * envelope(n, 2 * self.rise, 0.1, 0.1)
        elif self.kind == "fm":
            y = np.sin(2 * np.pi * hz * t + self.index * np.exp(-self.fall * t) * np.sin(2 * np.pi * self.ratio * hz * t)) * envelope(n, 0.003, 0.4 * self.fall)
        else:
            y = harmonics(hz, n, np.array([1 / k if k % 2 else 0.3 * self.bright / k for k in range(1, 31)])) * envelope(n, 0.002, 0.2 * self.fall)
        return note.loud * y / (np.abs(y).max() + 1e-9)


class Kit:
    def __init__(self, rng: Rng) -> None:
        self.low, self.fall = rng.uniform(40, 70), rng.uniform(0.7, 1.6)

    def play(self, rng: Rng, note: Note) -> np.ndarray:
        t = time(int(0.6 * RATE))
        noise = rng.standard_normal(len(t))
        if note.pitch in (KICK, TOM, LOW_TOM):
            base, sweep = (self.low, 4) if note.pitch == KICK else (2.5 * self.low * (1 + (note.pitch == TOM)), 0.5)
            y = np.sin(2 * np.pi * np.cumsum(base * (1 + sweep * np.exp(-40 * t))) / RATE) * np.exp(-9 * self.fall * t) + 0.2 * noise * np.exp(-200 * t)
        elif note.pitch in (SNARE, CLAP):
            y = noise * np.exp(-14 * self.fall * t) + (0.6 * np.sin(2 * np.pi * 3.3 * self.low * t) * np.exp(-20 * t) if note.pitch == SNARE else 0)
        else:
            fall = {HAT: 40, SHAKER: 30, OPEN_HAT: 7, RIDE: 4, CRASH: 3}[note.pitch]
            y = signal.lfilter([1, -0.95], [1, 0.4], noise) * np.exp(-fall * self.fall * t)
        return 0.8 * note.loud * y / np.abs(y).max()


def by_own(rng: Rng, parts: list[Part]) -> np.ndarray:
    out = np.zeros((SECONDS + 8) * RATE)
    for part in parts:
        player = Kit(rng) if part.drums else Instrument(rng)
        share = rng.uniform(0.4, 1)
        for note in part.notes:
            start = int(note.start * RATE)
            y = player.play(rng, note)[: max(0, len(out) - start)]
            out[start : start + len(y)] += share * y
    if rng.random() < 0.6:  # a hall
        t = time(int(rng.uniform(0.2, 2) * RATE))
        out = out + rng.uniform(0.02, 0.2) * signal.fftconvolve(out, rng.standard_normal(len(t)) * np.exp(-6.9 * t / t[-1]))[: len(out)]
    if rng.random() < 0.3:
        out = np.tanh(rng.uniform(1, 5) * out / np.abs(out).max())
    return out[: SECONDS * RATE]


# --- sampled instruments


def number(n: int) -> bytes:
    """MIDI's variable length."""
    out = [n & 127]
    while n := n >> 7:
        out.insert(0, 128 | n & 127)
    return bytes(out)


def midi(parts: list[Part]) -> bytes:
    """A Standard MIDI File with 1,000 ticks a second."""
    events: list[tuple[int, bytes]] = []
    for n, part in enumerate(parts):
        channel = DRUMS if part.drums else n + (n >= DRUMS)
        events.append((0, bytes([0xC0 | channel, part.program])))
        for note in part.notes:
            events.append((int(1000 * note.start), bytes([0x90 | channel, note.pitch, int(127 * note.loud)])))
            events.append((int(1000 * (note.start + note.length)), bytes([0x80 | channel, note.pitch, 0])))
    events.sort(key=lambda e: (e[0], e[1][0] & 0xF0 == 0x90))
    track, before = b"\0\xff\x51\x03\x07\xa1\x20", 0
    for at, what in events:
        track += number(at - before) + what
        before = at
    track += b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 500) + b"MTrk" + struct.pack(">I", len(track)) + track


def by_font(font: Path, parts: list[Part]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "x.mid", Path(folder) / "x.wav"
        score.write_bytes(midi(parts))
        subprocess.run(["fluidsynth", "-ni", "-q", "-r", "48000", "-g", "0.4", "-F", sound, font, score], check=True, capture_output=True)
        with wave.open(str(sound)) as w:
            x = np.frombuffer(w.readframes(w.getnframes()), np.int16).reshape(-1, w.getnchannels()).mean(1)
    return signal.resample_poly(x, 1, 3)[: SECONDS * RATE]


def piece(folder: Path, font: Path | None, n: int) -> None:
    rng = np.random.default_rng([zlib.crc32(folder.name.encode()), n])
    parts = compose(rng)
    x = by_font(font, parts) if font else by_own(rng, parts)
    with wave.open(str(folder / f"{n:03}.wav"), "wb") as w:
        w.setparams((1, 2, RATE, 0, "NONE", ""))
        w.writeframes((x / (np.abs(x).max() + 1e-9) * 10 ** (-rng.uniform(0.5, 12) / 20) * 32767).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--font", nargs="*", default=[], help="NAME=FILE.sf2")
    parser.add_argument("--pieces", type=int, default=100, help="in each folder")
    args = parser.parse_args()
    for name, font in [("own", None), *(f.split("=", 1) for f in args.font)]:
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with Pool(2) as pool:
            pool.map(partial(piece, folder, Path(font) if font else None), range(args.pieces), chunksize=2)


if __name__ == "__main__":
    main()
