"""Small nets as public detection repositories write them, registered as scripts for the vendor's tool do it.

Used as a user's script. What matters is the code of forward: Focus, SiLU in place, anchors and grids that are
made on the way, decoupled heads, implicit knowledge, BatchNorm without running statistics.
"""

import numpy as np
import torch
from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model
from torch import nn

SIZE = 32


class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1, act=True, track=True):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03, track_running_stats=track)
        self.act = (
            nn.SiLU(inplace=True) if act is True else act if isinstance(act, nn.Module) else nn.Identity()
        )

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Focus(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.conv = Conv(c1 * 4, c2, 3)

    def forward(self, x):
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(torch.cat(parts, 1))


class Bottleneck(nn.Module):
    def __init__(self, c, shortcut=True):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c), Conv(c, c, 3), shortcut

    def forward(self, x):
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class SPPF(nn.Module):
    def __init__(self, c, k=5):
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c // 2), Conv(c * 2, c)
        self.m = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)

    def forward(self, x):
        x = self.cv1(x)
        y1 = self.m(x)
        y2 = self.m(y1)
        return self.cv2(torch.cat((x, y1, y2, self.m(y2)), 1))


class Detect(nn.Module):
    """As YOLOv5 has it: grids are made anew where the size changed."""

    stride = (4, 8)
    export = False

    def __init__(self, nc=2, anchors=((10, 13, 16, 30), (30, 61, 62, 45)), ch=(8, 16), inplace=True):
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(anchors), len(anchors[0]) // 2
        self.grid = [torch.zeros(1)] * self.nl
        self.anchor_grid = [torch.zeros(1)] * self.nl
        self.register_buffer("anchors", torch.tensor(anchors).float().view(self.nl, -1, 2))
        self.m = nn.ModuleList(nn.Conv2d(x, self.no * self.na, 1) for x in ch)
        self.inplace = inplace

    def forward(self, x):
        z = []
        for i in range(self.nl):
            x[i] = self.m[i](x[i])
            bs, _, ny, nx = x[i].shape
            x[i] = x[i].view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            if not self.training:
                if self.grid[i].shape[2:4] != x[i].shape[2:4]:
                    self.grid[i], self.anchor_grid[i] = self._make_grid(nx, ny, i)
                y = x[i].sigmoid()
                if self.inplace:
                    y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5 + self.grid[i]) * self.stride[i]
                    y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.anchor_grid[i]
                else:
                    xy, wh, conf = y.split((2, 2, self.nc + 1), 4)
                    xy = (xy * 2 - 0.5 + self.grid[i]) * self.stride[i]
                    y = torch.cat((xy, (wh * 2) ** 2 * self.anchor_grid[i], conf), 4)
                z.append(y.view(bs, -1, self.no))
        return x if self.training else (torch.cat(z, 1),) if self.export else (torch.cat(z, 1), x)

    def _make_grid(self, nx=20, ny=20, i=0):
        d, t = self.anchors[i].device, self.anchors[i].dtype
        shape = 1, self.na, ny, nx, 2
        y, x = torch.arange(ny, device=d, dtype=t), torch.arange(nx, device=d, dtype=t)
        yv, xv = torch.meshgrid(y, x, indexing="ij")
        grid = torch.stack((xv, yv), 2).expand(shape) - 0.5
        anchors = (self.anchors[i] * self.stride[i]).view((1, self.na, 1, 1, 2)).expand(shape)
        return grid, anchors


class Yolov5(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        layers = [Focus(3, 8), Conv(8, 8, 3, 2), Bottleneck(8), Conv(8, 16, 3, 2), SPPF(16)]
        self.model, self.detect = nn.Sequential(*layers), Detect(inplace=inplace)
        self.up, self.reduce = nn.Upsample(None, 2, "nearest"), Conv(24, 8)

    def forward(self, x, augment=False, profile=False, visualize=False):
        if augment:
            return self._forward_augment(x)
        y = []
        for m in self.model:
            x = m(x)
            y.append(x)
            if visualize:
                print(m)
        small = self.reduce(torch.cat([self.up(y[4]), y[2]], 1))
        return self.detect([small, y[4]])


class Implicit(nn.Module):
    def __init__(self, channel, mean):
        super().__init__()
        self.implicit = nn.Parameter(
            torch.full((1, channel, 1, 1), mean) + 0.02 * torch.randn(1, channel, 1, 1)
        )


class RepConv(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.act = nn.SiLU(inplace=True)
        self.rbr_identity = nn.BatchNorm2d(c)
        self.rbr_dense = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))
        self.rbr_1x1 = nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, inputs):
        if hasattr(self, "rbr_reparam"):
            return self.act(self.rbr_reparam(inputs))
        identity = 0 if self.rbr_identity is None else self.rbr_identity(inputs)
        return self.act(self.rbr_dense(inputs) + self.rbr_1x1(inputs) + identity)


class Yolov7(nn.Module):
    """ELAN, RepConv, implicit knowledge, and boxes by a matrix, as its export writes them."""

    def __init__(self):
        super().__init__()
        self.stem, self.rep = (
            nn.Sequential(Conv(3, 8, 3, 4), Conv(8, 8, 3, 1, nn.LeakyReLU(0.1, True))),
            RepConv(8),
        )
        self.ia, self.im, self.m = Implicit(8, 0.0), Implicit(21, 1.0), nn.Conv2d(8, 21, 1)
        self.register_buffer(
            "anchor_grid", torch.tensor([[12.0, 16], [19, 36], [40, 28]]).view(1, 3, 1, 1, 2)
        )

    def forward(self, x, augment=False, profile=False):
        x = self.rep(self.stem(x))
        x = self.im.implicit * self.m(self.ia.implicit + x)
        bs, _, ny, nx = x.shape
        x = x.view(bs, 3, 7, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        yv, xv = torch.meshgrid([torch.arange(ny), torch.arange(nx)])
        grid = torch.stack((xv, yv), 2).view((1, 1, ny, nx, 2)).float()
        y = x.sigmoid()
        xy = (y[..., 0:2] * 2.0 - 0.5 + grid) * 4
        wh = (y[..., 2:4] * 2) ** 2 * self.anchor_grid.data
        z = torch.cat((xy, wh, y[..., 4:]), -1).view(bs, -1, 7)
        matrix = torch.tensor(
            [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]],
            dtype=torch.float32,
            device=z.device,
        )
        box = z[:, :, :4] @ matrix
        score, label = (z[:, :, 5:] * z[:, :, 4:5]).max(2, keepdim=True)
        return torch.cat([box, score, label.type(torch.float32)], 2)


class Yolox(nn.Module):
    """A decoupled head, whose grids are made for all levels after the outputs were joined."""

    def __init__(self, decode=True):
        super().__init__()
        self.stem, self.down = Focus(3, 8), Conv(8, 16, 3, 2)
        self.stems = nn.ModuleList([Conv(8, 8), Conv(16, 8)])
        self.cls = nn.ModuleList([nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)])
        self.reg = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)])
        self.obj = nn.ModuleList([nn.Conv2d(8, 1, 1), nn.Conv2d(8, 1, 1)])
        self.decode_in_inference = decode

    def forward(self, x, targets=None):
        first = self.stem(x)
        outputs = []
        for k, (stem, feature) in enumerate(zip(self.stems, (first, self.down(first)), strict=True)):
            feature = stem(feature)
            output = torch.cat(
                [self.reg[k](feature), self.obj[k](feature).sigmoid(), self.cls[k](feature).sigmoid()], 1
            )
            outputs.append(output)
        if self.training:
            return self.losses(outputs, targets)
        self.hw = [x.shape[-2:] for x in outputs]
        outputs = torch.cat([x.flatten(start_dim=2) for x in outputs], dim=2).permute(0, 2, 1)
        return self.decode(outputs, dtype=x.type()) if self.decode_in_inference else outputs

    def decode(self, outputs, dtype):
        grids, strides = [], []
        for (hsize, wsize), stride in zip(self.hw, (2, 4), strict=True):
            yv, xv = torch.meshgrid(torch.arange(hsize), torch.arange(wsize))
            grid = torch.stack((xv, yv), 2).view(1, -1, 2)
            grids.append(grid)
            strides.append(torch.full((*grid.shape[:2], 1), stride))
        grids = torch.cat(grids, dim=1).type(dtype)
        strides = torch.cat(strides, dim=1).type(dtype)
        outputs[..., :2] = (outputs[..., :2] + grids) * strides
        outputs[..., 2:4] = torch.exp(outputs[..., 2:4]) * strides
        return outputs


class Resnet(nn.Module):
    """BatchNorm without running statistics, so that those of the batch count in every mode."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = Conv(3, 8, 3, 2, nn.ReLU(inplace=True), track=False), Conv(8, 8, 3, 1, False)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv1(x)
        out = self.conv2(x)
        out += x
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(self.relu(out), 1), 1))


class Picked(nn.Module):
    """The best boxes of a detector without suppression: TopK and Gather."""

    def __init__(self):
        super().__init__()
        self.net = Yolov5(inplace=False)

    def forward(self, x):
        boxes = self.net(x)[0]
        scores, labels = (boxes[..., 5:] * boxes[..., 4:5]).max(-1)
        best, index = scores.topk(8, dim=1)
        rows = boxes[..., :4].gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
        return rows, best, labels.gather(1, index)


def made(kind, *args, **extras):
    torch.manual_seed(0)
    model = kind(*args)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return {"model": model, "inputs": [torch.zeros(1, 3, SIZE, SIZE)], **extras}


BATCH = {
    "dynamic_axes_inputs": {"images": {0: "batch_size"}},
    "dynamic_axes_outputs": {"output": {0: "batch_size"}},
}


@pytorch_model.register("yolov5")
def yolov5(weight_path=None):
    concrete_args = {"augment": False, "profile": False, "visualize": False, "val": True}
    return made(Yolov5, concrete_args=concrete_args, **BATCH)


@pytorch_model.register("yolov3")
def yolov3(weight_path=None):
    return made(Yolov5, False, concrete_args={"augment": False, "profile": False})


@pytorch_model.register("yolov7")
def yolov7(weight_path=None):
    return made(Yolov7, concrete_args={"augment": False, "profile": False}, **BATCH)


@pytorch_model.register("yolox")
def yolox(weight_path=None):
    return made(Yolox, concrete_args={"targets": None})


@pytorch_model.register("yolox_raw")
def yolox_raw(weight_path=None):
    found = made(Yolox, False)
    return found["model"], found["inputs"]


@pytorch_model.register("resnet")
def resnet(weight_path=None):
    found = made(Resnet)
    found["model"].train()
    return found["model"], found["inputs"][0]


@pytorch_model.register("picked")
def picked(weight_path=None):
    return made(Picked)


@onnx_infer_func.register("pictures")
def pictures(executor):
    rng = np.random.default_rng(1)
    for _ in range(executor.iteration):
        executor.forward(rng.integers(0, 256, size=(1, 3, SIZE, SIZE), dtype=np.uint8))
    return 1
