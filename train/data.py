"""Reads a set of labelled clips and keeps it decoded in a cache.

Training looks at every clip about a hundred times, so decoding and coding are
done once: the cache holds all clips as 16-bit 16 kHz samples in one flat file,
and next to it a few copies of the same set sent through lossy codecs. A copy
has the same layout as the original, so one index serves all of them. Which
codec a clip goes through is drawn from the seed and the clip's path, never
from its label: a detector that could tell the labels by codec would learn it.
"""
from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from dataclasses import asdict, dataclass
from multiprocessing import Pool
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

RATE = 16000
MAX_SECONDS = 30.0
GAP = 4000  # silence between clips of one coded batch: a codec's state fades in it
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aiff", ".wma", ".amr", ".webm"}
COPIES = 6


@dataclass
class Clip:
    path: str
    label: str  # bonafide or spoof
    split: str = "train"
    kind: str = ""
    system: str = ""
    speaker: str = ""
    language: str = ""
    source: str = ""
    orig_format: str = ""
    orig_rate: str = ""

    @property
    def spoof(self) -> int:
        return int(self.label == "spoof")


def read_set(where: Path, valid_share: float = 0.15) -> list[Clip]:
    """Clips of a manifest (.tsv), or of a folder with bonafide/ and spoof/.

    Without a split column, whole sources go to validation: clips of one source
    on both sides would flatter the figures. In a folder the source is the first sub-folder below the label.
    """
    where = Path(where)
    clips: list[Clip] = []
    if where.is_dir() and (where / "manifest.tsv").exists():
        where = where / "manifest.tsv"
    if where.is_file():
        names = set(Clip.__dataclass_fields__)
        with open(where, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE):
                clips.append(Clip(**{k: v for k, v in row.items() if k in names and v is not None}))
                if "split" not in row:
                    clips[-1].split = ""
    else:
        for label in ("bonafide", "spoof"):
            for path in sorted((where / label).rglob("*")):
                if path.suffix.lower() in AUDIO_SUFFIXES:
                    inside = path.relative_to(where / label).parts
                    source = inside[0] if len(inside) > 1 else path.stem
                    clips.append(Clip(str(path.relative_to(where)), label, "", source=source))
    for clip in clips:
        if clip.label not in ("bonafide", "spoof"):
            raise SystemExit(f"{where}: label of {clip.path} is neither bonafide nor spoof: {clip.label}")
        clip.kind = clip.kind or ("human" if clip.label == "bonafide" else "synthetic")
        clip.source = clip.source or "unknown"
        clip.system = clip.system or clip.source
    if not clips:
        raise SystemExit(f"{where}: no clips found")
    if any(not c.split for c in clips):
        assign_splits(clips, valid_share)
    return clips


def assign_splits(clips: list[Clip], share: float) -> None:
    """Sends about `share` of each label's clips to validation, by whole sources.

    The order of the sources is that of a hash, so that adding clips moves few.
    """
    order = lambda name: zlib.crc32(name.encode())  # noqa: E731
    chosen: set[str] = set()
    for clip in clips:
        clip.split = "train"
    for label in ("bonafide", "spoof"):
        own = [c for c in clips if c.label == label]
        sources = sorted({c.source for c in own}, key=order)
        if len(sources) < 2:
            print(f"warning: only one source of {label} clips; its clips are split, which flatters the figures", file=sys.stderr)
            for clip in own:
                clip.split = "valid" if order(clip.path) % 1000 < 1000 * share else "train"
            continue
        taken = sum(c.source in chosen for c in own)
        for source in sources[:-1]:
            if taken >= share * len(own):
                break
            if source not in chosen:
                chosen.add(source)
                taken += sum(c.source == source for c in own)
    for clip in clips:
        if clip.source in chosen:
            clip.split = "valid"


def root_of(where: Path) -> Path:
    """The folder that a set's paths are relative to."""
    return where if where.is_dir() else where.parent


def decode(path: str) -> np.ndarray:
    """A file's samples as int16, 16 kHz, mono, at most MAX_SECONDS."""
    try:
        import soundfile
        from scipy.signal import resample_poly

        with soundfile.SoundFile(path) as handle:
            rate = handle.samplerate
            samples = handle.read(int(MAX_SECONDS * rate), dtype="float32", always_2d=True).mean(axis=1)
        if rate != RATE:
            step = np.gcd(rate, RATE)
            samples = resample_poly(samples, RATE // step, rate // step)
        return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    except Exception:  # a format that libsndfile does not read: ffmpeg reads the rest
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-t", str(MAX_SECONDS), "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"],
            capture_output=True,
        ).stdout
        return np.frombuffer(raw, np.int16)


# One step of a recipe: file suffix, sample rate at the coder, ffmpeg options.
Step = tuple[str, int, str]
PHONE = "-af highpass=f=250,lowpass=f=3500 "


def recipes() -> list[tuple[str, float, list[Step]]]:
    """All codec chains with their weights."""
    mp3 = {k: ("mp3", 16000, f"-c:a libmp3lame -b:a {k}k") for k in (24, 32, 48, 64, 96)}
    mp3hi = {k: ("mp3", 44100, f"-c:a libmp3lame -b:a {k}k") for k in (64, 96, 128)}
    opus = {k: ("ogg", 16000, f"-c:a libopus -application voip -compression_level 5 -b:a {k}k") for k in (12, 16, 24, 32)}
    # Calls are coded as voice, files as audio: SILK at 16 kHz all the same, at 48 kHz hybrid from 40 kbit/s on, CELT from 64.
    opus_file = {k: ("ogg", 16000, f"-c:a libopus -application audio -compression_level 5 -b:a {k}k") for k in (16, 24, 32, 48)}
    opus_file_hi = {k: ("ogg", 48000, f"-c:a libopus -application audio -compression_level 5 -b:a {k}k") for k in (24, 40, 64)}
    opus8 = ("ogg", 8000, "-c:a libopus -application voip -compression_level 5 -b:a 12k")
    aac = {k: ("m4a", 16000, f"-c:a aac -b:a {k}k") for k in (24, 32, 48)}
    aachi = {k: ("m4a", 44100, f"-c:a aac -b:a {k}k") for k in (48, 64, 96)}
    vorbis = {q: ("ogg", 16000, f"-c:a libvorbis -q:a {q}") for q in (0, 3)}
    ulaw = ("wav", 8000, "-c:a pcm_mulaw")
    alaw = ("wav", 8000, "-c:a pcm_alaw")
    gsm = ("wav", 8000, "-c:a libgsm_ms")
    narrow = ("wav", 8000, "-c:a pcm_s16le")
    g722 = ("wav", 16000, "-c:a g722")
    g726 = ("wav", 8000, "-c:a g726 -b:a 32k")
    speex8 = ("ogg", 8000, "-c:a libspeex -b:a 11k")
    speex16 = ("ogg", 16000, "-c:a libspeex -b:a 20k")
    adpcm = ("wav", 16000, "-c:a adpcm_ms")
    phone = lambda step: (step[0], step[1], PHONE + step[2])  # noqa: E731
    single: list[tuple[str, float, list[Step]]] = []
    single += [(f"mp3-{k}", 1.2, [s]) for k, s in mp3.items()]
    single += [(f"mp3hi-{k}", 1.5, [s]) for k, s in mp3hi.items()]
    single += [(f"opus-{k}", 1.5, [s]) for k, s in opus.items()]
    single += [(f"opus-file-{k}", 1.2, [s]) for k, s in opus_file.items()]
    single += [(f"opus-file-hi-{k}", 0.8, [s]) for k, s in opus_file_hi.items()]
    single += [(f"aac-{k}", 1.0, [s]) for k, s in aac.items()]
    single += [(f"aachi-{k}", 1.2, [s]) for k, s in aachi.items()]
    single += [(f"vorbis-{q}", 1.0, [s]) for q, s in vorbis.items()]
    single += [
        ("ulaw", 1.5, [ulaw]), ("alaw", 1.5, [alaw]), ("ulaw-phone", 1.5, [phone(ulaw)]), ("alaw-phone", 1.5, [phone(alaw)]),
        ("gsm", 1.5, [gsm]), ("gsm-phone", 1.5, [phone(gsm)]), ("narrow", 2.0, [narrow]), ("opus8", 1.0, [opus8]),
        ("g722", 1.0, [g722]), ("g726", 1.0, [g726]), ("speex8", 0.8, [speex8]), ("speex16", 0.8, [speex16]), ("adpcm", 0.7, [adpcm]),
    ]
    double = [
        ("mp3+opus", 1.5, [mp3hi[64], opus[24]]), ("aac+mp3", 1.5, [aachi[64], mp3[48]]), ("mp3+ulaw", 1.2, [mp3[32], ulaw]),
        ("gsm+mp3", 1.2, [gsm, mp3[32]]), ("opus+alaw", 1.2, [opus[16], phone(alaw)]), ("opus+aac", 1.5, [opus[16], aac[48]]),
        ("ulaw+opus", 1.2, [phone(ulaw), opus[24]]), ("narrow+mp3", 1.2, [narrow, mp3[48]]), ("vorbis+mp3", 1.0, [vorbis[0], mp3hi[96]]),
        ("gsm+ulaw", 0.8, [phone(gsm), ulaw]), ("mp3+opus-file", 1.2, [mp3hi[64], opus_file[24]]), ("opus-file+aac", 1.2, [opus_file_hi[40], aac[48]]),
    ]
    return single + double


def run_step(raw: Path, step: Step) -> None:
    """Codes and decodes a raw 16 kHz file in place."""
    suffix, rate, options = step
    coded = raw.with_suffix("." + suffix)
    plain = ["-f", "s16le", "-ar", str(RATE), "-ac", "1"]
    base = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1"]
    subprocess.run([*base, *plain, "-i", str(raw), *options.split(), "-ar", str(rate), "-ac", "1", str(coded)], check=True)
    subprocess.run([*base, "-i", str(coded), *plain, str(raw)], check=True)
    coded.unlink()


def lag_of(before: np.ndarray, after: np.ndarray, most: int = 4000) -> int:
    """By how many samples `after` lags: coders delay, and each its own amount."""
    from scipy.fft import irfft, rfft

    n = min(len(before), len(after), 60 * RATE)
    size = 1 << (2 * n - 1).bit_length()
    cross = irfft(rfft(after[:n].astype(np.float32), size) * np.conj(rfft(before[:n].astype(np.float32), size)), size)
    both = np.concatenate([cross[-most:], cross[: most + 1]])
    return int(np.argmax(np.abs(both))) - most


class Cache:
    """The decoded set: `clips`, and copies of their samples in flat files."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        index = json.loads((self.folder / "index.json").read_text())
        self.clips = [Clip(**c) for c in index["clips"]]
        self.offset = np.array(index["offset"], np.int64)
        self.length = np.array(index["length"], np.int64)
        self.copies: list[np.ndarray] = []
        self.reopen()

    def reopen(self) -> None:
        """Takes in the coded copies that exist by now."""
        self.copies = [np.memmap(self.folder / "copy-0.i16", np.int16, "r")]
        for n in range(1, COPIES + 1):
            path = self.folder / f"copy-{n}.i16"
            if path.exists():
                self.copies.append(np.memmap(path, np.int16, "r"))

    def samples(self, i: int, copy: int = 0) -> np.ndarray:
        start = self.offset[i]
        return self.copies[copy][start : start + self.length[i]]


def folder_for(where: Path, cache: Path) -> Path:
    key = hashlib.sha256(str(Path(where).resolve()).encode()).hexdigest()[:12]
    return Path(cache) / key


def build_originals(where: Path, folder: Path, processes: int) -> None:
    clips = read_set(where)
    root = root_of(Path(where))
    offset, length, kept = [], [], []
    at = 0
    part = folder / "copy-0.part"
    with Pool(processes) as pool, open(part, "wb") as out:
        for clip, samples in zip(clips, pool.imap(decode, [str(root / c.path) for c in clips], chunksize=16)):
            if len(samples) < RATE // 4:
                print(f"skipped, unreadable or under 0.25 s: {clip.path}", file=sys.stderr)
                continue
            out.write(samples.tobytes())
            offset.append(at)
            length.append(len(samples))
            kept.append(asdict(clip))
            at += len(samples)
    (folder / "index.json").write_text(json.dumps({"clips": kept, "offset": offset, "length": length}))
    os.replace(part, folder / "copy-0.i16")


def build_copy(cache: Cache, number: int, seed: int, processes: int) -> None:
    """One coded copy of the whole set, coded in batches of about ten minutes.

    A coder started once per clip would spend most of its time starting, so
    clips that drew the same recipe are laid in a row, with silence between.
    """
    chains = recipes()
    weight = np.array([w for _, w, _ in chains])
    drawn: dict[int, list[int]] = {}
    for i, clip in enumerate(cache.clips):
        rng = np.random.default_rng([seed, number, zlib.crc32(clip.path.encode())])
        drawn.setdefault(int(rng.choice(len(chains), p=weight / weight.sum())), []).append(i)
    jobs: list[tuple[int, list[int]]] = []
    for chain, members in drawn.items():
        batch, size = [], 0
        for i in members:
            batch.append(i)
            size += int(cache.length[i]) + GAP
            if size > 600 * RATE:
                jobs.append((chain, batch))
                batch, size = [], 0
        if batch:
            jobs.append((chain, batch))
    jobs.sort(key=lambda job: -len(job[1]))
    part = cache.folder / f"copy-{number}.part"
    out = np.memmap(part, np.int16, "w+", shape=(int(cache.length.sum()),))

    def work(job: tuple[int, list[int]]) -> None:
        chain, members = job
        pieces = [np.zeros(GAP, np.int16)]
        for i in members:
            pieces += [cache.samples(i), np.zeros(GAP, np.int16)]
        row = np.concatenate(pieces)
        with tempfile.TemporaryDirectory(dir=cache.folder) as temporary:
            raw = Path(temporary) / "row.raw"
            row.tofile(raw)
            for step in chains[chain][2]:
                run_step(raw, step)
            coded = np.fromfile(raw, np.int16)
        lag = lag_of(row, coded)
        coded = np.pad(coded, (4000, max(0, len(row) - len(coded)) + 8000))
        at = GAP + 4000 + lag
        for i in members:
            n = int(cache.length[i])
            out[cache.offset[i] : cache.offset[i] + n] = coded[at : at + n]
            at += n + GAP

    with ThreadPool(processes) as pool:
        for _ in pool.imap_unordered(work, jobs):
            pass
    out.flush()
    del out
    os.replace(part, cache.folder / f"copy-{number}.i16")


def build(where: Path, cache: Path, seed: int = 1, processes: int = 2, copies: int = COPIES) -> Cache:
    """Opens the cache of a set, building what is missing."""
    folder = folder_for(where, cache)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "copy-0.i16").exists():
        build_originals(Path(where), folder, processes)
    ready = Cache(folder)
    for number in range(1, copies + 1):
        if not (folder / f"copy-{number}.i16").exists():
            build_copy(ready, number, seed, processes)
    ready.reopen()
    return ready


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the cache of decoded and coded clips.")
    parser.add_argument("set", type=Path, help="manifest.tsv, or a folder with bonafide/ and spoof/")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sonde-train").expanduser())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    cache = build(args.set, args.cache, args.seed, args.processes)
    print(f"{len(cache.clips)} clips, {cache.length.sum() / RATE / 3600:.2f} h, {len(cache.copies)} copies in {cache.folder}")


if __name__ == "__main__":
    main()
