"""Makes a small set of clips from what Debian packages, to train on beside a corpus.

Public demonstration pages show new systems; nobody shows the old ones that are on
every machine, nor the prompts that a telephone exchange plays. Here they are: eSpeak
NG, flite and festival reading fortune cookies in five languages, and the French
and Italian voice prompts of Asterisk, at 8 and 16 kHz. (Not the English, Spanish
and Russian prompts: the program's own tests use those speakers.)

    python3 -m train.local FOLDER            writes FOLDER/manifest.tsv and the clips
    python3 -m train.local FOLDER --add manifest.tsv   and that manifest's rows before them

Needs: espeak-ng flite festival festvox-{kallpc16k,kdlpc16k,us-slt-hts,italp16k,ru}
fortunes fortunes-{ru,es,it,de} asterisk-core-sounds-{fr,it}-{wav,g722} ffmpeg
"""
from __future__ import annotations

import argparse
import csv
import random
import re
import subprocess
from multiprocessing.pool import ThreadPool
from pathlib import Path

COLUMNS = "path split label kind system speaker language source orig_format orig_rate duration_s".split()
FORTUNES = Path("/usr/share/games/fortunes")
TEXTS = {"en": ["fortunes", "literature", "wisdom", "science", "people"], "ru": ["ru"], "es": ["es"], "it": ["italia", "leggi", "definizioni"], "de": ["de"]}
FLITE = ["kal", "kal16", "awb", "rms", "slt"]
FESTIVAL = {"kal_diphone": "en", "ked_diphone": "en", "cmu_us_slt_arctic_hts": "en", "lp_diphone": "it", "msu_ru_nsh_clunits": "ru"}
PROMPTS = Path("/usr/share/asterisk/sounds")


def sentences(language: str) -> list[str]:
    """Fortune cookies of a length that takes three to eight seconds to say."""
    found: list[str] = []
    for name in TEXTS[language]:
        where = FORTUNES / name
        files = sorted(where.rglob("*.u8")) if where.is_dir() else [where]
        for file in files:
            for cookie in file.read_text(errors="ignore").split("\n%"):
                text = re.sub(r"\s+", " ", re.split(r"\n\s*--|\n\s*\(c\)|\x1b", cookie)[0]).strip(' %"')
                if 45 <= len(text) <= 130 and not re.search(r"[_{}|<>\\]", text):
                    found.append(text)
    return sorted(set(found))


def speak(job: tuple[Path, str, str, str]) -> bool:
    path, system, voice, text = job
    raw = path.with_suffix(".raw.wav")
    if system == "espeak-ng":
        name, pitch, pace = voice.split(":")
        command, given = ["espeak-ng", "-v", name, "-p", pitch, "-s", pace, "-w", raw, text], None
    elif system == "flite":
        command, given = ["flite", "-voice", voice, "-t", text, "-o", raw], None
    else:
        command, given = ["text2wave", "-eval", f"(voice_{voice})", "-o", raw], text
        if voice.startswith("msu_ru"):
            given = text
    done = subprocess.run(command, input=given.encode() if given else None, capture_output=True)
    return done.returncode == 0 and raw.exists() and to_flac(raw, path, raw=False) and (raw.unlink() or True)


def to_flac(source: Path, path: Path, raw: bool, start: float = 0.0) -> bool:
    before = ["-f", "g722", "-ac", "1"] if raw else []
    done = subprocess.run(["ffmpeg", "-v", "error", "-y", *before, "-i", source, "-ss", str(start), "-t", "7", "-ac", "1", "-ar", "16000", path], capture_output=True)
    return done.returncode == 0 and path.stat().st_size > 12000


def synthetic(folder: Path, draw: random.Random, count: int) -> list[tuple[tuple, dict]]:
    texts = {language: sentences(language) for language in TEXTS}
    jobs = []
    for system, share in (("espeak-ng", 0.5), ("flite", 0.25), ("festival", 0.25)):
        for n in range(int(count * share)):
            if system == "espeak-ng":
                language = draw.choice(list(TEXTS))
                variant = draw.choice(["", "", "+f2", "+m3", "+f4", "+m7"])
                name = "en-us" if language == "en" and draw.random() < 0.5 else language
                voice = f"{name}{variant}:{draw.randint(20, 80)}:{draw.randint(130, 200)}"
            elif system == "flite":
                language, voice = "en", draw.choice(FLITE)
            else:
                voice, language = draw.choice(list(FESTIVAL.items()))
            path = folder / f"{system}-{n}.flac"
            row = {"path": path.name, "label": "spoof", "kind": "tts", "system": f"{system}-{voice.split(':')[0]}" if system != "espeak-ng" else system,
                   "speaker": voice.split(":")[0], "language": language, "source": f"debian/{system}", "orig_format": "wav", "orig_rate": "16000"}
            jobs.append(((path, system, voice, draw.choice(texts[language])), row))
    return jobs


def human(folder: Path, draw: random.Random, each: int) -> list[tuple[tuple, dict]]:
    jobs = []
    for language, speaker in (("fr", "fr_CA_f_June"), ("it", "it_IT_m_Carlo")):
        for kind, rate, least in (("wav", 8000, 40000), ("g722", 16000, 20000)):
            files = [f for f in sorted((PROMPTS / speaker).rglob(f"*.{kind}")) if f.stat().st_size > least and "silence" not in f.parts]
            for n, file in enumerate(draw.sample(files, min(each, len(files)))):
                path = folder / f"asterisk-{language}-{kind}-{n}.flac"
                row = {"path": path.name, "label": "bonafide", "kind": "human", "system": "human", "speaker": speaker, "language": language,
                       "source": f"debian/asterisk-{language}", "orig_format": kind, "orig_rate": str(rate)}
                jobs.append(((file, path, kind == "g722"), row))
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description="Make clips from Debian's voices.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--add", type=Path, help="a manifest whose rows come first")
    parser.add_argument("--count", type=int, default=480, help="synthetic clips")
    parser.add_argument("--each", type=int, default=80, help="human clips per language and rate")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(args.seed)
    spoof, bonafide = synthetic(folder, draw, args.count), human(folder, draw, args.each)
    with ThreadPool(2) as pool:
        good = pool.map(speak, [job for job, _ in spoof]) + pool.map(lambda job: to_flac(job[0], job[1], job[2]), [job for job, _ in bonafide])
    rows = []
    if args.add:
        with open(args.add, newline="") as f:
            for row in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE):
                rows.append({c: row.get(c) or "" for c in COLUMNS} | {"path": str((args.add.parent / row["path"]).resolve())})
    made = [row | {"split": "train", "duration_s": ""} for (_, row), ok in zip(spoof + bonafide, good) if ok]
    with open(folder / "manifest.tsv", "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows + made)
    for system in sorted({row["source"] for row in made}):
        print(system, sum(row["source"] == system for row in made))


if __name__ == "__main__":
    main()
