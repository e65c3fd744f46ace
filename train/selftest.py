"""Checks of the training code that need no clips: python3 -m train.selftest."""
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from . import augment, data, detail, engine, evaluate, export, frontend, gate, golden, model, music, resample, safetensors, sampler, second, train


def metrics() -> None:
    rng = np.random.default_rng(0)
    human, synthetic = rng.normal(-1, 1, 4000), rng.normal(1, 1, 3000)
    assert abs(evaluate.eer(human, synthetic)[0] - 0.1587) < 0.01  # Phi(-1)
    assert abs(evaluate.auc(human, synthetic) - 0.9214) < 0.01  # Phi(sqrt 2)
    assert evaluate.auc(np.zeros(5), np.zeros(5)) == 0.5
    assert abs(evaluate.cllr(np.zeros(5), np.zeros(9)) - 1) < 1e-12
    assert abs(evaluate.min_cllr(np.zeros(5), np.zeros(9)) - 1) < 1e-12
    assert evaluate.min_cllr(np.arange(5.0), np.arange(5.0, 9)) == 0
    scale, offset = evaluate.calibrate(human, synthetic)
    assert abs(scale - 2) < 0.15 and abs(offset) < 0.15  # the true LLR of these is 2 x
    best, fitted = evaluate.min_cllr(human, synthetic), evaluate.cllr(scale * human + offset, scale * synthetic + offset)
    assert best <= fitted <= best + 0.02
    raw, label = np.concatenate([human, synthetic]), np.repeat([0, 1], [len(human), len(synthetic)])
    cost, error = evaluate.left_out(raw, label, np.arange(len(raw)) % 5)
    assert best <= cost <= fitted + 0.01 and abs(error - 0.1587) < 0.01
    odd = np.where(np.arange(len(raw)) % 5, raw, raw + 3)  # one source is not like the others
    cost, error = evaluate.left_out(odd, label, np.arange(len(raw)) % 5)
    scale, offset = evaluate.calibrate(*evaluate.split(odd, label))
    assert error > 0.18 and cost > 0.02 + evaluate.cllr(*evaluate.split(scale * odd + offset, label))
    low, high = evaluate.wilson(10, 100)
    assert abs(low - 0.0552) < 1e-3 and abs(high - 0.1744) < 1e-3


def front_end() -> None:
    wave = golden.synthetic()
    assert np.abs(model.features(torch.from_numpy(wave)[None])[0, 0].numpy() - frontend.features(wave)).max() < 1e-3
    assert np.abs(frontend.features(wave) - frontend.features(wave * np.float32(0.1))).max() < 1e-2  # gain says nothing
    window, hop = frontend.WINDOW, frontend.WINDOW_HOP
    assert frontend.window_starts(100) == [0] and frontend.window_starts(window) == [0]
    assert frontend.window_starts(window + 1) == [0, 1]
    assert frontend.window_starts(window + hop) == [0, hop] and frontend.window_starts(window + hop + 5) == [0, hop, hop + 5]


def details() -> None:
    wave = golden.synthetic()
    value = detail.numbers(wave)
    assert value.shape == (detail.COUNT,) and np.abs(value - golden.detail_again(wave)).max() < 1e-2
    assert np.abs(value - detail.numbers(wave * np.float32(0.1))).max() < 2e-2  # gain says nothing
    assert np.isfinite(detail.numbers(np.zeros(frontend.WINDOW, np.float32))).all()
    if engine.ENGINE is None:
        print("skipped: the engine's numbers, it was not built (make build)")
    assert np.abs(engine.numbers(wave) - value).max() < 1e-2
    noise = detail.numbers(np.random.default_rng(0).standard_normal(frontend.WINDOW).astype(np.float32))
    at = detail.ONCE["fine"]
    assert abs(noise[at : at + 64].mean() - 0.52) < 0.01  # Euler's constant, less what 16 bins that overlap share
    rows = torch.from_numpy(np.stack([value, noise]))
    nets = [model.Detail().eval() for _ in range(3)]
    with torch.no_grad():
        one, each = second.stack(nets, 2.0)(rows), torch.stack([n(rows) for n in nets])
    assert (one - 2 * each.mean(dim=0)).abs().max() < 1e-5


def dropout() -> None:
    torch.manual_seed(0)
    drop, ones = model.Dropout(0.2), torch.ones(100, 999)
    first, again = drop(ones), drop(ones)
    assert abs(first.mean() - 1) < 0.01 and abs((first == 0).float().mean() - 0.2) < 0.01 and (first != again).any()


def chances() -> None:
    """Three pairs: of parts 0 and 1, of 2 alone with a weight of 3, of 1 alone."""
    second.SHARED["known"] = {"gentle": np.array([(0, 1.0), (1, 1.0), (2, 1.0), (2, 3.0), (1, 1.0), (1, 1.0)])}
    assert np.allclose(second.chances_without(-1)["gentle"], [0.2, 0.8, 1])
    assert np.allclose(second.chances_without(1)["gentle"], [0, 1, 1])
    assert np.allclose(second.chances_without(2)["gentle"], [0.5, 0.5, 1])
    del second.SHARED["known"]


def resampling() -> None:
    at = np.arange(8000) / 8000
    slow, fast = (np.sin(2 * np.pi * 440 * t).astype(np.float32) for t in (at, np.arange(16000) / 16000))
    assert np.abs(resample.doubled(slow) - fast)[200:-200].max() < 1e-3
    assert resample.narrow(fast) and not resample.narrow(np.random.default_rng(0).standard_normal(16000))
    assert np.abs(resample.as_program(fast) - fast)[200:-200].max() < 1e-3 and len(resample.as_program(fast[1:])) == len(fast) - 1


def drawing() -> None:
    clips = [data.Clip(f"{s}/{n}", label, source=s, system=s) for s, label, count in (("a", "bonafide", 400), ("b", "bonafide", 4), ("c", "spoof", 9)) for n in range(count)]
    draws = sampler.Sampler(clips, list(range(len(clips))))
    rng = np.random.default_rng(0)
    from_b = np.mean([clips[draws.draw(rng, 0)].source == "b" for _ in range(2000)])
    assert abs(from_b - 2 / 22) < 0.03  # by the root of the count, not the count
    for clip in clips:
        clip.split = ""
    clips += [data.Clip(f"d/{n}", "spoof", "", source="d") for n in range(9)]
    data.assign_splits(clips, 0.15)
    assert all(len({c.split for c in clips if c.source == s}) == 1 for s in "abcd")
    assert {c.split for c in clips if c.spoof} == {"train", "valid"}


def augmentation() -> None:
    make = augment.Augmenter(1)
    speech = (3000 * np.random.default_rng(1).standard_normal(40000)).astype(np.int16)
    for n in range(40):
        y = make(np.random.default_rng(n), speech, lambda r: speech)
        again = make(np.random.default_rng(n), speech, lambda r: speech)
        assert y.shape == (frontend.BANDS, frontend.FRAMES) and np.isfinite(y).all() and (y == again).all()
    zeros = make(np.random.default_rng(0), np.zeros(40000, np.int16), lambda r: speech)
    assert np.isfinite(zeros).all()


def files() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3, dtype=np.int32)}
        safetensors.save(path, tensors, {"format": "x"})
        assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0
        back, metadata = safetensors.load(path)
        assert metadata == {"format": "x"} and all((back[k] == tensors[k]).all() for k in tensors)


def gates() -> None:
    """A gate taken over says the same of the same numbers; one that is found tells two kinds of noise from a third."""
    rng, n = np.random.default_rng(3), 50
    mean, scale, raw = rng.normal(0, 1, n), rng.uniform(0.5, 2, n), rng.normal(0, 1, (20, n))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        old = {"gate.weight": rng.normal(0, 1, n), "detail.mean": rng.normal(0, 1, n), "detail.scale": rng.uniform(0.5, 2, n)}
        safetensors.save(path, {k: v.astype(np.float32) for k, v in old.items()}, {"gate_limit": "2.5"})
        new, limit = export.gate_of(path, mean, scale)
    before = (raw - old["detail.mean"]) * old["detail.scale"] @ old["gate.weight"]
    after = (raw - mean) * scale @ new["gate.weight"]
    assert np.abs((before - 2.5) - (after - float(limit["gate_limit"]))).max() < 1e-3
    kinds = np.repeat(["speech", "music", "noise"], 200)
    about = [{"kind": str(k), "group": f"g{i % 7}", "s": gate.SECONDS[i % 5], "condition": "clean"} for i, k in enumerate(kinds)]
    rows = np.zeros((600, gate.NUMBERS + n), np.float32)
    rows[:, gate.NUMBERS :] = rng.normal(0, 1, (600, n)) + (kinds != "speech")[:, None]
    weights, least = gate.fit_numbers(about, rows)
    beyond = rows[:, gate.NUMBERS :] @ weights >= least
    assert beyond[kinds != "speech"].mean() > 0.9 and beyond[kinds == "speech"].mean() < 0.02


def pieces() -> None:
    rng = np.random.default_rng(5)
    parts = music.compose(rng)
    notes = [n for p in parts for n in p.notes]
    assert parts and all(0 <= n.pitch < 128 and 0 <= n.loud <= 1 and n.start >= 0 and n.length > 0 for n in notes)
    played = music.by_own(rng, parts)
    assert len(played) == music.SECONDS * music.RATE and np.isfinite(played).all() and played.std() > 1e-3
    score = music.midi(parts)
    assert score[:4] == b"MThd" and int.from_bytes(score[18:22], "big") == len(score) - 22 and score.endswith(b"\xff\x2f\0")
    assert [music.number(n).hex() for n in (0, 127, 128, 16383, 16384)] == ["00", "7f", "8100", "ff7f", "818000"]


def network() -> None:
    net = model.Detector()
    record: dict[str, torch.Tensor] = {}
    assert net(torch.randn(2, 1, 128, 384), record).shape == (2,)
    assert record["stages.2.blocks.0"].shape == (2, 96, 8, 24) and record["attn"].shape == (2, 192)
    assert train.rate(0.03, 1.0) == 1.0 and train.rate(1.0, 1.0) < 0.01


def main() -> None:
    for check in (metrics, front_end, details, dropout, chances, resampling, drawing, augmentation, files, gates, pieces, network):
        check()
        print(f"ok {check.__name__}")


if __name__ == "__main__":
    main()
