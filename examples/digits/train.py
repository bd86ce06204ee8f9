"""Trains the example net: handwritten digits (8x8 grey pictures), a small residual convolutional net.

Writes digits.onnx (batch normalization left unfolded, batch size dynamic) and digits.npz (the pictures
to calibrate and to test with) beside this file. Needs torch, onnx and scikit-learn; takes about a minute
on one CPU core. The data are scikit-learn's `load_digits`: E. Alpaydin and C. Kaynak, Optical Recognition
of Handwritten Digits, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
SEED = 0
EPOCHS = 40
BATCH = 64
TEST_PICTURES = 500
CALIBRATION_PICTURES = 100


def unit(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution and batch normalization."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out)
    )


class Residual(nn.Module):
    """Two units and a shortcut around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = unit(channels, channels)
        self.second = unit(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class DigitNet(nn.Module):
    """Pictures [batch, 1, 8, 8] in 0..1 to logits [batch, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            unit(1, 32), nn.ReLU(), unit(32, 64), nn.ReLU(), Residual(64),
            nn.MaxPool2d(2), unit(64, 72), nn.ReLU(), Residual(72), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.classifier = nn.Linear(72, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def shifted(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """All pictures moved by the same -1, 0 or 1 pixels along both axes; zeros come in."""
    dy, dx = torch.randint(0, 3, (2,), generator=generator).tolist()
    return nn.functional.pad(pictures, (1, 1, 1, 1))[:, :, dy : dy + 8, dx : dx + 8]


def train(pictures: torch.Tensor, labels: torch.Tensor) -> DigitNet:
    """The trained net, the same on every run."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    net = DigitNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(pictures), generator=generator).split(BATCH):
            logits = net(shifted(pictures[rows], generator))
            loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def export(net: DigitNet, path: Path) -> None:
    """Writes `net` as the exporter does for a model that is still being trained: nothing folded."""
    torch.onnx.export(
        net,
        (torch.zeros(1, 1, 8, 8),),
        str(path),
        dynamo=False,
        opset_version=17,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )


def main() -> None:
    pictures, labels = load_digits(return_X_y=True)
    pictures = (pictures / 16).astype(np.float32).reshape(-1, 1, 8, 8)  # sixteen grey levels
    labels = labels.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        pictures, labels, test_size=TEST_PICTURES, random_state=SEED, stratify=labels
    )
    net = train(torch.from_numpy(train_x), torch.from_numpy(train_y))
    with torch.no_grad():
        found = net(torch.from_numpy(test_x)).argmax(1).numpy()
    print(f"test accuracy {100 * (found == test_y).mean():.2f} % of {len(test_y)} pictures")
    export(net, HERE / "digits.onnx")
    np.savez_compressed(
        HERE / "digits.npz",
        calibration_images=(train_x[:CALIBRATION_PICTURES] * 16).astype(np.uint8),
        calibration_labels=train_y[:CALIBRATION_PICTURES].astype(np.uint8),
        test_images=(test_x * 16).astype(np.uint8),
        test_labels=test_y.astype(np.uint8),
    )


if __name__ == "__main__":
    main()
