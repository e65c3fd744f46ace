"""The network, and the front end in torch.

Channels are multiples of 16 and every convolution is followed by a batch
normalisation, which the C engine folds into it. The convolutions shrink the
128 x 384 spectrogram to 8 x 24 cells; a depthwise convolution over all eight
rows leaves 24 time steps; attention says which of them matter, and mean and
deviation under these weights go to a small classifier. Its output is a logit,
positive for synthetic speech.
"""
from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from . import detail, frontend

STEM, CHANNELS, BLOCKS, ATTN, FC = 16, (32, 64, 96), (1, 2, 1), 48, 64


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class Unit(nn.Module):
    """Convolution and batch normalisation under the names `conv` and `bn`."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + x, inplace=True)


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.down = Unit(conv3(inputs, outputs, 2))
        self.blocks = nn.ModuleList(Block(outputs) for _ in range(blocks))


class Attention(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """[batch, time, channels] to [batch, 2 * channels]."""
        a = torch.softmax(self.score(torch.tanh(self.proj(h))), dim=1)
        mean = (a * h).sum(dim=1)
        spread = ((a * h * h).sum(dim=1) - mean * mean).clamp_min(1e-5).sqrt()
        return torch.cat([mean, spread], dim=1)


class Detector(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = Unit(conv3(1, STEM, 2))
        inputs = (STEM, *CHANNELS)
        self.stages = nn.ModuleList(Stage(i, o, b) for i, o, b in zip(inputs, CHANNELS, BLOCKS))
        last = CHANNELS[-1]
        rows = frontend.BANDS >> (1 + len(CHANNELS))
        self.collapse = Unit(nn.Conv2d(last, last, (rows, 1), groups=last, bias=False))
        self.attn = Attention(last, ATTN)
        self.fc1 = nn.Linear(2 * last, FC)
        self.fc2 = nn.Linear(FC, 1)
        self.dropout = dropout
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in", nonlinearity="relu")
        for stage in self.stages:  # blocks start as the identity: early training is that of a shallow net
            for block in stage.blocks:
                nn.init.constant_(block.bn2.weight, 0.2)

    def forward(self, x: torch.Tensor, record: dict[str, torch.Tensor] | None = None, pooled: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """[batch, 1, bands, frames] to [batch] logits.

        `record`, where given, receives a copy of every layer's output by name;
        `pooled` the pooling's output itself, for losses on it.
        """

        def keep(name: str, value: torch.Tensor) -> torch.Tensor:
            if record is not None:
                record[name] = value.detach().clone()
            return value

        x = keep("stem", self.stem(x))
        for i, stage in enumerate(self.stages):
            x = keep(f"stages.{i}.down", stage.down(x))
            for j, block in enumerate(stage.blocks):
                x = keep(f"stages.{i}.blocks.{j}", block(x))
        h = keep("collapse", self.collapse(x)).squeeze(2).transpose(1, 2).float()
        with torch.autocast("cpu", enabled=False):  # the pooling's difference of squares needs all its bits
            summary = keep("attn", self.attn(h))
            if pooled is not None:
                pooled["attn"] = summary
            summary = F.dropout(summary, self.dropout, self.training)
            hidden = keep("fc1", F.relu(self.fc1(summary)))
            return keep("logit", self.fc2(hidden).squeeze(1))


class Dropout:
    """Dropout by stretches of one long random mask, from anywhere in it: F.dropout's random numbers took most of a step of Detail's."""

    LONGER = 4  # than the first input

    def __init__(self, share: float) -> None:
        self.share, self.mask = share, torch.empty(0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.mask) < x.numel():
            self.mask = (torch.rand(self.LONGER * x.numel()) >= self.share).float() / (1 - self.share)
        first = int(torch.randint(len(self.mask) - x.numel() + 1, ()))
        return x * self.mask[first : first + x.numel()].view(x.shape)


class Detail(nn.Module):
    """The second network: detail.py's numbers of a window to a logit, to be added to Detector's."""

    def __init__(self, hidden: tuple[int, int] = (64, 32), dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(detail.COUNT))
        self.register_buffer("scale", torch.ones(detail.COUNT))
        self.fc1 = nn.Linear(detail.COUNT, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], 1)
        self.drop = Dropout(dropout), Dropout(1.3 * dropout)

    def forward(self, x: torch.Tensor, record: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """[batch, detail.COUNT] to [batch]; `record` as in Detector."""
        # A recording unlike all others says no more than an odd one.
        given = ((x - self.mean) * self.scale).clamp(-4, 4)
        first = F.relu(self.fc1(self.drop[0](given) if self.training else given))
        second = F.relu(self.fc2(self.drop[1](first) if self.training else first))
        logit = self.fc3(second)
        if record is not None:
            record.update({"detail": given, "detail.fc1": first, "detail.fc2": second, "detail.fc3": logit})
        return logit.squeeze(1)


def features(samples: torch.Tensor) -> torch.Tensor:
    """The front end: [batch, samples] to [batch, 1, bands, frames]."""
    frames = samples.unfold(1, frontend.FRAME, frontend.HOP)
    hann = torch.from_numpy(frontend.HANN).to(samples.dtype)
    spectrum = torch.fft.rfft(frames * hann, frontend.SIZE)[..., 1 : 2 * frontend.BANDS + 1]
    power = spectrum.real.square() + spectrum.imag.square()
    band = power.unflatten(-1, (frontend.BANDS, 2)).sum(-1)
    mean = torch.log(band.double().mean(dim=(1, 2), keepdim=True) + frontend.TINY).to(samples.dtype)
    level = (torch.log(band + frontend.TINY) - mean).clamp_min(-math.log(1e6))
    level = level - level.mean(dim=1, keepdim=True)
    return level.transpose(1, 2).unsqueeze(1).contiguous()
