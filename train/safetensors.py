"""Writes and reads safetensors files; the format is small enough to own.

Eight bytes of header length, a JSON header, the tensors' bytes. The header is
padded with spaces until the data starts at a multiple of 64 bytes, so that a
mapped file can be used in place.
"""
from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np

NAMES = {"float32": "F32", "int32": "I32", "int64": "I64"}
TYPES = {v: k for k, v in NAMES.items()}


def save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = metadata
    at, parts = 0, []
    for name in sorted(tensors):
        value = np.asarray(tensors[name], order="C")
        header[name] = {"dtype": NAMES[value.dtype.name], "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        parts.append(value.tobytes())
        at += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    part = Path(str(path) + ".part")
    with open(part, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
    os.replace(part, path)  # readers see the old file or the new one, never half of one


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + size + start : 8 + size + end], TYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    return tensors, metadata
