"""Measures how often a model is wrong by duration, channel, codec and language, and stores that with the weights.

The figures are the program's own (`sonde eval --json`): shares of decided clips
with Wilson's 95 % intervals. "codec" is the same clips, encoded and decoded
once at a usual rate. A group counts when it has GROUP_MIN decided clips of each
label; fewer say nothing. The tensors are not touched, the file's SHA-256 is.

    python3 -m train.rates MANIFEST MODEL [--where split=valid] [--program build/sonde]
"""
from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import safetensors

GROUP_MIN = 20
# How the program names the codec, and how a usual file of it is made.
CODECS = {
    "mp3": ("mp3", ["-c:a", "libmp3lame", "-b:a", "64k"]),
    "aac": ("m4a", ["-c:a", "aac", "-b:a", "48k"]),
    "opus": ("ogg", ["-c:a", "libopus", "-b:a", "24k"]),
    "vorbis": ("ogg", ["-c:a", "libvorbis", "-q:a", "1"]),
    "pcm_mulaw": ("wav", ["-ar", "8000", "-ac", "1", "-c:a", "pcm_mulaw"]),
    "gsm_ms": ("wav", ["-ar", "8000", "-ac", "1", "-c:a", "libgsm_ms"]),
}


def evaluate(program: Path, manifest: Path, model: Path, where: str | None) -> dict:
    command = [str(program), "eval", str(manifest), "--json", "--model", str(model)] + (["--where", where] if where else [])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def group(name: str, counts: dict) -> dict | None:
    entry: dict = {"name": name, "human": counts["n_decided_bonafide"], "synthetic": counts["n_decided_spoof"]}
    if min(entry["human"], entry["synthetic"]) < GROUP_MIN:
        return None
    entry |= {key: counts[key] for key in ("from_s", "below_s") if key in counts}
    for key, short in (("false_alarm", "fpr"), ("miss", "fnr")):
        entry[key] = [round(v, 4) for v in (counts[short], *counts[short + "_ci"])]
    return entry


def groups(report: dict, by: str) -> list[dict]:
    found = (group(g["name"], g) for g in report["by"][by] if g["name"] != "unknown")
    return [g for g in found if g]


def recoded(rows: list[dict], root: Path, codec: str, folder: Path) -> Path:
    suffix, options = CODECS[codec]

    def encode(row: dict) -> dict:
        out = folder / f"{codec}-{row['number']}.{suffix}"
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(root / row["path"]), *options, str(out)], check=True)
        return {"path": out.name, "label": row["label"]}

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(encode, rows))
    manifest = folder / f"{codec}.tsv"
    with open(manifest, "w", newline="") as f:
        writer = csv.DictWriter(f, ["path", "label"], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--where", help="only rows whose COLUMN=VALUE")
    parser.add_argument("--program", type=Path, default=Path("build/sonde"))
    args = parser.parse_args()

    report = evaluate(args.program, args.manifest, args.model, args.where)
    found = {by: groups(report, by) for by in ("duration", "channel", "language")}
    with open(args.manifest, newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    if args.where:
        column, value = args.where.split("=", 1)
        rows = [r for r in rows if r[column] == value]
    rows = [{**r, "number": i} for i, r in enumerate(rows)]
    found["codec"] = []
    with tempfile.TemporaryDirectory(prefix="sonde-rates-") as folder:
        for codec in CODECS:
            through = evaluate(args.program, recoded(rows, args.manifest.parent, codec, Path(folder)), args.model, None)
            print(f"{codec}: EER {through['eer']:.1%}, Cllr {through['cllr']:.3f} (min {through['min_cllr']:.3f})", flush=True)
            entry = group(codec, through)
            found["codec"] += [entry] if entry else []

    tensors, metadata = safetensors.load(args.model)
    metadata["eval_groups"] = json.dumps(found, separators=(",", ":"))
    safetensors.save(args.model, tensors, metadata)
    for by, list_ in found.items():
        for g in list_:
            print(f"{by:9} {g['name']:12} human {g['human']:4} false alarms {g['false_alarm'][0]:6.1%}  synthetic {g['synthetic']:4} misses {g['miss'][0]:6.1%}")


if __name__ == "__main__":
    main()
