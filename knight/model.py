"""Load and save models, and the few questions that every step asks of a graph.

The IR is `onnx_ir.Model`. Weights stay memory-mapped in their external files until a step needs
them, so models above protobuf's 2 GB limit pass.
"""

from __future__ import annotations
