"""Which clip comes next: balanced by label, then source, then system.

Drawing clips by count would teach the detector the corpus: some sources have a
hundred clips of one speaker, some systems one clip. So a label is taken in
turn, then a source is drawn by the square root of its size, a system in it,
and a clip of that system. Parametric and concatenative synthesis has a weight of its
own: it is rare in use, but it is what everybody tries first.

Some draws come in pairs: a human and a synthetic clip of one source. They share
the recording's circumstances, studio or telephone, so that nothing but the
synthesis tells them apart.
"""
from __future__ import annotations

import re

import numpy as np

from .data import Clip

OLD = re.compile(r"espeak|festival|flite|rhvoice-hts|world|griffin|-hts\b|diphone|clunits|clustergen", re.I)


class Sampler:
    def __init__(self, clips: list[Clip], members: list[int], old: float = 0.8) -> None:
        """`members` are the indices of `clips` to draw from, `old` the weight of parametric and concatenative systems."""
        groups: dict[int, dict[str, dict[str, list[int]]]] = {0: {}, 1: {}}
        for i in members:
            clip = clips[i]
            # Human clips have no system; their speakers take its place.
            system = clip.system if clip.spoof else clip.speaker
            groups[clip.spoof].setdefault(clip.source, {}).setdefault(system, []).append(i)
        Table = dict[str, tuple[list[list[int]], np.ndarray]]
        self.tables: dict[int, Table] = {}
        self.names: dict[int, list[str]] = {}
        self.source_weight: dict[int, np.ndarray] = {}
        for label, sources in groups.items():
            if not sources:
                raise SystemExit("both labels are needed to train; one has no clips")
            weights: list[float] = []
            table: Table = {}
            for source, systems in sources.items():
                per = np.array([np.sqrt(len(c)) * (old if label and OLD.search(s) else 1.0) for s, c in systems.items()])
                count = sum(len(c) for c in systems.values())
                # A source that holds nothing but old systems counts less as a whole.
                plain = sum(np.sqrt(len(c)) for c in systems.values())
                weights.append(np.sqrt(count) * per.sum() / plain)
                table[source] = (list(systems.values()), per / per.sum())
            self.tables[label] = table
            self.names[label] = list(sources)
            self.source_weight[label] = np.array(weights) / np.sum(weights)
        self.shared = [n for n in self.names[1] if n in groups[0]]
        shared_weight = np.array([w for n, w in zip(self.names[1], self.source_weight[1]) if n in groups[0]])
        self.shared_weight = shared_weight / max(1e-9, shared_weight.sum())

    def draw_source(self, rng: np.random.Generator) -> str | None:
        """A source that has both labels, for a pair of draws."""
        return self.shared[rng.choice(len(self.shared), p=self.shared_weight)] if self.shared else None

    def draw(self, rng: np.random.Generator, label: int, source: str | None = None) -> int:
        if source is None:
            source = self.names[label][rng.choice(len(self.names[label]), p=self.source_weight[label])]
        systems, weight = self.tables[label][source]
        members = systems[rng.choice(len(systems), p=weight)]
        return members[rng.integers(len(members))]
