"""torchvision's suppression of overlapping boxes, for torch's TorchScript exporter, which does not know it.

torchvision brings the same along, but only where it is imported, and for its own opsets.
"""

from __future__ import annotations

from typing import Any

import torch

_SINCE = 11
_MOST = 2**31 - 1


def register() -> None:
    """Tells the exporter of this process that ``torchvision::nms`` is ONNX's NonMaxSuppression.

    Both take corners, and which axis comes first makes no difference to the overlap.
    """
    exporter: Any = torch.onnx
    exporter.register_custom_op_symbolic("torchvision::nms", _nms, _SINCE)


def _nms(g: Any, boxes: Any, scores: Any, iou_threshold: Any) -> Any:
    """boxes: N x 4. scores: N. The places of those that stay, best first."""
    zero, column = _constant(g, [0]), _constant(g, [2])
    scores = g.op("Unsqueeze", g.op("Unsqueeze", scores, zero), zero)
    threshold = g.op("Cast", g.op("Reshape", iou_threshold, _constant(g, [1])), to_i=1)
    chosen = g.op(
        "NonMaxSuppression", g.op("Unsqueeze", boxes, zero), scores, _constant(g, [_MOST]), threshold
    )
    return g.op("Squeeze", g.op("Gather", chosen, column, axis_i=1), _constant(g, [1]))


def _constant(g: Any, values: list[int]) -> Any:
    return g.op("Constant", value_t=torch.tensor(values))
