"""What people write in their nets: small ones, each with an idiom that has tripped converters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.converters.pytorch.nets import check


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class Anchorless(nn.Module):
    """As YOLOv8: parts of a split collected in a list, a distribution per side, points made of map sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.inner = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
        self.join, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 4 * 4 + 2, 1)
        self.register_buffer("project", torch.arange(4.0))

    def forward(self, x: Tensor) -> Any:
        y = list(F.silu(self.stem(x)).chunk(2, 1))
        y.extend(block(y[-1]) for block in self.inner)
        feature = self.join(torch.cat(y, 1))
        maps = [self.head(feature), self.head(F.max_pool2d(feature, 2))]
        points, strides = self._points(maps)
        joined = torch.cat([m.view(m.shape[0], 18, -1) for m in maps], 2)
        box, scores = joined.split((16, 2), 1)
        b, _, a = box.shape
        sides = (box.view(b, 4, 4, a).softmax(2) * self.project.view(1, 1, 4, 1)).sum(2)
        low, high = sides.chunk(2, dim=1)
        first, last = points.unsqueeze(0) - low, points.unsqueeze(0) + high
        boxes = torch.cat(((first + last) / 2, last - first), 1) * strides
        return torch.cat((boxes, scores.sigmoid()), 1)

    @staticmethod
    def _points(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        points, strides = [], []
        for level, m in enumerate(maps):
            _, _, h, w = m.shape
            sx = torch.arange(end=w, device=m.device, dtype=m.dtype) + 0.5
            sy = torch.arange(end=h, device=m.device, dtype=m.dtype) + 0.5
            sy, sx = torch.meshgrid(sy, sx, indexing="ij")
            points.append(torch.stack((sx, sy), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), 2.0**level, dtype=m.dtype, device=m.device))
        return torch.cat(points).transpose(0, 1), torch.cat(strides).transpose(0, 1)


class Causal(nn.Module):
    """As GPT: a mask kept in a buffer and cut to the length, weights shared between both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 16, 8))
        self.qkv, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, ids: Tensor) -> Any:
        b, t = ids.size()
        assert t <= 16, f"too long: {t}"
        x = self.words(ids) + self.places[:, :t]
        q, k, v = self.qkv(self.norm(x)).split(8, dim=2)
        q, k, v = (y.view(b, t, 2, 4).transpose(1, 2) for y in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        y = F.softmax(scores, dim=-1) @ v
        x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, 8))
        return F.linear(x, self.words.weight)[:, [-1], :]


class Peaks(nn.Module):
    """As CenterNet: local maxima, the best of all classes, and what lies at their places."""

    def __init__(self) -> None:
        super().__init__()
        self.heat, self.size = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        heat = torch.clamp(self.heat(x).sigmoid_(), 1e-4, 1 - 1e-4)
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat).float()
        batch, _, height, width = heat.size()
        scores, places = torch.topk(heat.view(batch, -1), 5)
        kinds = torch.div(places, height * width, rounding_mode="floor")
        places = places % (height * width)
        ys, xs = (places // width).float(), (places % width).int().float()
        sizes = self.size(x).permute(0, 2, 3, 1).contiguous().view(batch, -1, 2)
        found = sizes.gather(1, places.unsqueeze(2).expand(batch, 5, 2))
        corners = torch.stack([xs - found[..., 0] / 2, ys - found[..., 1] / 2], dim=2)
        return torch.cat([corners, scores.unsqueeze(2), kinds.float().unsqueeze(2)], dim=2)


class Gates(nn.Module):
    """Squeeze and excitation, spatial and channel attention, a learned sum of branches."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1)
        )
        self.line, self.spatial = nn.Conv1d(1, 1, 3, padding=1), nn.Conv2d(2, 1, 7, padding=3)
        self.weights = nn.Parameter(torch.rand(2))

    def forward(self, x: Tensor) -> Any:
        b, c, _, _ = x.size()
        a = x * torch.sigmoid(self.squeeze(x)).expand_as(x)
        line = self.line(x.mean((2, 3), keepdim=True).squeeze(-1).transpose(-1, -2))
        e = x * torch.sigmoid(line.transpose(-1, -2).unsqueeze(-1))
        both = torch.cat([torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)], dim=1)
        s = x * self.spatial(both).sigmoid()
        weights = F.relu(self.weights)
        weights = weights / (weights.sum() + 1e-4)
        return a + weights[0] * e + weights[1] * s + x.view(b, c, -1).std(2).view(b, c, 1, 1)


class Points(nn.Module):
    """As PointNet: a matrix predicted for each sample, applied to its points; the maximum over all points."""

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.lift = nn.Linear(3, 9), nn.Conv1d(3, 8, 1)

    def forward(self, x: Tensor) -> Any:
        b = x.size()[0]
        turn = self.turn(x.max(2)[0]) + torch.eye(3).view(1, 9).repeat(b, 1)
        x = torch.bmm(x.transpose(2, 1), turn.view(-1, 3, 3)).transpose(2, 1)
        y = torch.max(F.relu(self.lift(x)), 2, keepdim=True)[0].view(-1, 8)
        return y, torch.cat([y.unsqueeze(2).repeat(1, 1, x.shape[2]), x], 1)


class Speech(nn.Module):
    """Causal convolutions cut at the end, a recurrent layer over folded axes, states in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.causal = nn.Conv1d(5, 6, 3, padding=2)
        self.frame, self.net = nn.Conv2d(1, 4, (1, 3), (1, 2)), nn.GRU(8, 7, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        y = self.causal(x.permute(0, 2, 1))[:, :, : -self.causal.padding[0]].contiguous()
        maps = F.relu(self.frame(x.unsqueeze(1)))
        b, c, t, f = maps.shape
        out, h = self.net(maps.permute(0, 2, 1, 3).reshape(b, t, c * f), h.transpose(0, 1).contiguous())
        log = torch.log(torch.clamp(out.abs(), min=1e-5))
        return y, F.glu(log[..., :6]), h.transpose(0, 1), out[:, -1, :].squeeze(1)


class Styled(nn.Module):
    """Weights that are computed: demodulated kernels, and the mean and spread of one map given to another."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Any:
        weight = self.weight / self.weight.pow(2).sum((1, 2, 3), keepdim=True).add(1e-8).sqrt()
        y = F.conv2d(x * self.style(x.mean((2, 3)))[:, :, None, None], weight, padding=1)
        mean, spread = y.mean(dim=(2, 3), keepdim=True), y.var(dim=(2, 3), keepdim=True).add(1e-5).sqrt()
        return (y - mean) / spread * x.std((2, 3), keepdim=True).mean(1, keepdim=True)


class Merged(nn.Module):
    """Pads that make the size fit, every second pixel joined, a pyramid from the top down, odd ends cut."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.norm = nn.Linear(12, 6), nn.LayerNorm(12)
        self.side = nn.ModuleDict({"low": nn.Conv2d(3, 6, 1), "high": nn.Conv2d(6, 6, 1)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h, w = x.shape[2], x.shape[3]
        if h % 2 == 1 or w % 2 == 1:
            x = F.pad(x, (0, w % 2, 0, h % 2))
        y = x.permute(0, 2, 3, 1)
        parts = [y[:, i::2, j::2, :] for i in range(2) for j in range(2)]
        small = self.reduce(self.norm(torch.cat(parts, -1))).permute(0, 3, 1, 2)
        features = {"low": self.side["low"](x), "high": self.side["high"](small)}
        up = F.interpolate(features["high"], size=features["low"].shape[-2:], mode="nearest")
        features["low"] = (features["low"] + up)[:, :, :h, :w]
        return features


class Graph(nn.Module):
    """A normalised adjacency made by a buffer, residual blocks in a loop, a softplus of a distance."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        edges = torch.eye(5) + torch.diag(torch.ones(4), 1)
        self.register_buffer("edges", edges / edges.sum(1, keepdim=True))

    def forward(self, x: Tensor) -> Any:
        for i, layer in enumerate(self.layers):
            mixed = torch.einsum("vw,bwc->bvc", self.edges, layer(x))
            x = x + F.elu(mixed) if i else F.elu(mixed)
        centre = x.mean(dim=1, keepdim=True)
        return F.softplus((x - centre).pow(2).sum(-1)), F.cosine_similarity(x, centre, dim=2)


NETS: dict[str, tuple[type[nn.Module], tuple[Tensor, ...]]] = {
    "anchorless": (Anchorless, (normal(2, 3, 16, 12),)),
    "causal": (Causal, (torch.tensor([[1, 5, 3, 10], [0, 2, 2, 7]]),)),
    "peaks": (Peaks, (normal(2, 3, 8, 9),)),
    "gates": (Gates, (normal(2, 8, 5, 6),)),
    "points": (Points, (normal(2, 3, 7),)),
    "speech": (Speech, (normal(2, 6, 5), normal(2, 1, 7))),
    "styled": (Styled, (normal(2, 3, 6, 6),)),
    "merged": (Merged, (normal(2, 3, 7, 9),)),
    "graph": (Graph, (normal(2, 5, 4),)),
}


@pytest.mark.parametrize("name", NETS)
def test_nets(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = NETS[name]
    check(make(), *inputs, tolerance=5e-5)
