"""Architectures at their smallest: torchvision's own definitions, and what it does not have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn


@functools.cache
def torchvision_models() -> Any:
    """``torchvision.models``. Its compiled part may be of another torch; the models need none of it."""
    for name, schema in (
        ("nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
        ("qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
    ):
        try:
            torch.library.define(f"torchvision::{name}", schema)
        except RuntimeError:  # defined already
            continue
    from torchvision import models

    return models


class MobileNetV1(nn.Module):
    """Depthwise and pointwise convolutions in turn."""

    def __init__(self) -> None:
        super().__init__()
        widths = [8, 16, 32, 32]
        self.stem = self._block(3, 8, 3, 2, 1)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [self._block(before, before, 3, 1, before), self._block(before, after, 1, 1, 1)]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], 10)

    @staticmethod
    def _block(before: int, after: int, size: int, stride: int, groups: int) -> nn.Sequential:
        conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6(inplace=True))

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.body(self.stem(x)).mean([2, 3]))


class YoloHead(nn.Module):
    """Two scales with anchors, decoded as YOLOv5 does."""

    anchors: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 4, 1)
        self.second = nn.Conv2d(16, 32, 3, 2, 1)
        self.heads = nn.ModuleList([nn.Conv2d(16, 3 * 9, 1), nn.Conv2d(32, 3 * 9, 1)])
        self.register_buffer(
            "anchors", torch.tensor([[[4.0, 5], [8, 9], [12, 11]], [[20, 25], [30, 40], [60, 50]]])
        )
        self.strides = [4, 8]

    def forward(self, x: torch.Tensor) -> Any:
        first = nn.functional.silu(self.first(x))
        features = [first, nn.functional.silu(self.second(first))]
        found = []
        for i, head in enumerate(self.heads):
            y = head(features[i])
            batch, _, height, width = y.shape
            y = y.view(batch, 3, 9, height, width).permute(0, 1, 3, 4, 2).contiguous()
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((columns, rows), 2).expand(1, 3, height, width, 2) - 0.5
            y = y.sigmoid()
            y[..., 0:2] = (y[..., 0:2] * 2 + grid) * self.strides[i]
            y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.anchors[i].view(1, 3, 1, 1, 2)
            found.append(y.view(batch, -1, 9))
        return torch.cat(found, 1)


class UNet(nn.Module):
    """Down and up again, with the maps of the way down beside."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._pair(3, 8), self._pair(8, 16)])
        self.middle = self._pair(16, 32)
        self.up = nn.ModuleList([nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)])
        self.joined = nn.ModuleList([self._pair(32, 16), self._pair(16, 8)])
        self.last = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _pair(before: int, after: int) -> nn.Sequential:
        def conv(channels: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]

        return nn.Sequential(*conv(before), *conv(after))

    def forward(self, x: torch.Tensor) -> Any:
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.middle(x)
        for up, block, skipped in zip(self.up, self.joined, reversed(kept), strict=True):
            x = block(torch.cat([up(x), skipped], dim=1))
        return self.last(x)


class Tagger(nn.Module):
    """Words to tags through a recurrent layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.net = getattr(nn, kind)(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(12, 5)

    def forward(self, ids: torch.Tensor) -> Any:
        states, _ = self.net(self.words(ids))
        return self.tags(states).log_softmax(-1)


class Encoder(nn.Module):
    """As BERT: words and places, attention that leaves padding out, a pooled answer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 16, padding_idx=0), nn.Embedding(12, 16)
        self.norm = nn.LayerNorm(16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.answer = nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor) -> Any:
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
        x = self.layers(x, src_key_padding_mask=ids == 0)
        return self.answer(torch.tanh(x[:, 0]))


def _vision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision_models(), name)(weights=None, **options)


def _vgg() -> nn.Module:
    net: nn.Module = torchvision_models().vgg11_bn(weights=None)
    net.classifier = nn.Linear(512 * 7 * 7, 10)  # the original's 120 million weights show nothing more
    return net


def _deeplab() -> nn.Module:
    segmentation = torchvision_models().segmentation
    net: nn.Module = segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    )
    return net


def _vit() -> nn.Module:
    found: nn.Module = torchvision_models().VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10
    )
    return found


def _swin() -> nn.Module:
    found: nn.Module = torchvision_models().SwinTransformer(
        patch_size=[4, 4], embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=10
    )
    return found


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (_vision("resnet18", num_classes=10), 64),
    "mobilenet_v1": (MobileNetV1, 32),
    "mobilenet_v2": (_vision("mobilenet_v2", width_mult=0.35), 64),
    "mobilenet_v3": (_vision("mobilenet_v3_small"), 64),
    "efficientnet_b0": (_vision("efficientnet_b0"), 64),
    "shufflenet_v2": (_vision("shufflenet_v2_x0_5"), 64),
    "squeezenet": (_vision("squeezenet1_1"), 64),
    "densenet121": (_vision("densenet121", num_classes=10), 64),
    "inception_v3": (_vision("inception_v3", num_classes=10, init_weights=False), 96),
    "googlenet": (_vision("googlenet", num_classes=10, init_weights=False), 64),
    "vgg11": (_vgg, 32),
    "regnet": (_vision("regnet_y_400mf"), 64),
    "convnext": (_vision("convnext_tiny", num_classes=10), 64),
    "vit": (_vit, 32),
    "swin": (_swin, 32),
    "deeplab": (_deeplab, 64),
    "yolo": (YoloHead, 64),
    "unet": (UNet, 32),
}
"""Vision models and the size of their pictures."""

SEQUENCES: dict[str, Callable[[], nn.Module]] = {
    "lstm tagger": lambda: Tagger("LSTM"),
    "gru tagger": lambda: Tagger("GRU"),
    "bert-like": Encoder,
}
"""Models of sequences of word numbers."""


def randomly_initialised(make: Callable[[], nn.Module]) -> nn.Module:
    """A net whose activations neither vanish nor explode, with statistics in its BatchNorms."""
    torch.manual_seed(3)
    net = make().eval()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.5)
    return net
