"""Scripts as users of the vendor's tool write them, for test_vendor_scripts.py.

TOP_SCALE is what they copy by hand from what quant prints.
"""

CLASSIFIER = """
import os
import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model

TOP_SCALE = ()

@ onnx_infer_func.register("infer_cls_model")
def infer_cls_model(executor):
    device = f"cuda:{executor.gpu}" if executor.gpu >= 0 else "cpu"
    data = np.load(os.path.join(os.path.dirname(executor.user_defined_script), executor.dataset))
    worst = 0.0
    for i, picture in enumerate(data["pictures"]):
        x = ((picture - np.reshape((120, 110, 100), (3, 1, 1))) / np.reshape((60, 50, 55), (3, 1, 1)))
        output = executor.forward(x[None].astype(np.float32))
        if executor.run_mode == "infer":
            output = [one * scale for one, scale in zip(output, TOP_SCALE)]
        for one, name in zip(output, ("boxes", "scores")):
            wanted = data[name][i : i + 1]
            worst = max(worst, np.linalg.norm(one - wanted) / np.linalg.norm(wanted))
        if i + 1 == executor.iteration:
            break
        if executor.early_stop_flag == True:
            break
    print(device, "worst:", worst)
    return 100.0 * (1 - worst)
"""
"""Normalizes by itself, and returns an accuracy."""

DETECTOR = """
import argparse
import os, sys
import os.path as osp
import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func
from onnx_quantize_tool.utils.constants import *

ROOT = os.getcwd()
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
from helper import Inferer

TOP_SCALE = ()

def get_args_parser():
    return argparse.ArgumentParser(description="by itself it would parse a command line").parse_args()

@onnx_infer_func.register("detector_infer")
def detector_infer(executor):
    weights, source, save_dir = executor, executor.dataset, executor.save_dir
    scales = TOP_SCALE if executor.run_mode == "infer" else (1.0, 1.0)
    found = Inferer(weights, source, NP_TYPE_DICT[executor.input_types["x"]]).infer(scales)
    os.makedirs(save_dir, exist_ok=True)
    np.savez(osp.join(save_dir, f"detected_{executor.run_mode}.npz"), **found)

if __name__ == "__main__":
    get_args_parser()
"""
"""Takes bytes, writes what it found, and returns nothing; its work is done by `HELPER`."""

HELPER = """
import numpy as np

class Inferer:
    def __init__(self, model, source, dtype):
        self.model, self.dtype = model, dtype
        self.device = "cpu" if model.gpu < 0 else model.gpu
        self.pictures = np.load(source)["pictures"]

    def infer(self, scales):
        assert self.dtype is np.uint8
        found = [self.model.forward(picture[None]) for picture in self.pictures[: self.model.iteration]]
        parts = zip(("boxes", "scores"), zip(*found), scales)
        return {name: np.concatenate(part) * scale for name, part, scale in parts}
"""
"""The file helper.py beside `DETECTOR`."""

INFER_COMMON = """
import os, sys
import numpy as np
from PIL import Image
from onnx_quantize_tool.common.register import onnx_infer_func
from onnx_quantize_tool.utils.constants import *

TOP_SCALE = ()

def pictures(executor):
    (entry,) = executor.input_configs_dict
    name = entry["input_name"]
    dtype = NP_TYPE_DICT[executor.input_types.get(name, 1)]
    for file in sorted(os.listdir(entry["data_dir"])):
        picture = np.asarray(Image.open(os.path.join(entry["data_dir"], file))).transpose(2, 0, 1)[None]
        yield picture.astype(dtype)

@onnx_infer_func.register("infer_common")
def infer_common(executor):
    if not executor.shape_dicts:
        executor.init_shape_info()
    assert executor.shape_dicts["x"] == [1, 3, 16, 16]
    data, worst = np.load("data.npz"), 0.0
    for index, picture in enumerate(pictures(executor)):
        output = executor.forward(picture)
        if executor.run_mode == "infer":
            output = [one * scale for one, scale in zip(output, TOP_SCALE)]
        for one, name in zip(output, ("boxes", "scores")):
            wanted = data[name][index]
            worst = max(worst, np.linalg.norm(one[0] - wanted) / np.linalg.norm(wanted))
        if index + 1 == executor.iteration:
            break
    return 1 - float(worst)
"""
"""A user's own copy of the vendor's function that feeds what input-configs name."""

IMPORTS = """
import numpy as np
from infer_common import infer_default
import infer_auto
from onnx_quantize_tool.common.register import onnx_infer_func

TOP_SCALE = ()

@onnx_infer_func.register("infer_both")
def infer_both(executor):
    assert infer_default(executor) is None and infer_auto.infer_auto(executor) is None
    data = np.load("data.npz")
    output = executor.forward(data["pictures"][:1])
    if executor.run_mode == "infer":
        output = [one * scale for one, scale in zip(output, TOP_SCALE)]
    pairs = zip(output, (data["boxes"][:1], data["scores"][:1]))
    return 1 - max(float(np.linalg.norm(one - wanted) / np.linalg.norm(wanted)) for one, wanted in pairs)
"""
"""Calls the ready-made functions, and then the model itself."""

PYTORCH = """
import json
import numpy as np
import torch
from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model

TOP_SCALE = ()

class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.boxes, self.scores = torch.nn.Conv2d(8, 6, 3), torch.nn.Conv2d(8, 4, 1)

    def forward(self, x, augment=False):
        x = torch.relu(self.stem(x))
        if augment:
            x = torch.cat((x, x))
        return self.boxes(x), self.scores(x)

@pytorch_model.register("detector")
def detector(weight_path=None):
    model = Detector().eval()
    if weight_path:
        model.load_state_dict(torch.load(weight_path, map_location="cpu"), strict=True)
    concrete_args = {"augment": False, "profile": False, "visualize": False, "val": True}
    return {"model": model, "inputs": [torch.randn((1, 3, 16, 16))], "concrete_args": concrete_args}

@onnx_infer_func.register("detector_quant")
def detector_quant(executor):
    device = torch.device(f"cuda:{executor.gpu}" if executor.gpu >= 0 else "cpu")
    model, worst = detector("weights.pth")["model"].to(device), 0.0
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in ((120.0, 110.0, 100.0), (60.0, 50.0, 55.0)))
    for i, picture in enumerate(np.load(executor.dataset)["pictures"]):
        output = [torch.from_numpy(one) for one in executor.forward(picture[None])]
        if executor.run_mode == "infer":
            output = [one * scale for one, scale in zip(output, TOP_SCALE)]
        with torch.no_grad():
            wanted = model((torch.from_numpy(picture[None]).float() - mean) / std)
        worst = max([worst, *(float((a - b).norm() / b.norm()) for a, b in zip(output, wanted))])
        if i + 1 == executor.iteration:
            break
    print(device, "worst:", worst)
    return 1 - worst
"""
"""Registers a model with arguments that its forward does not have, and compares with it."""
