"""The ready-made infer functions: one file each, named as users ask for it, defining `infer(executor)`."""

from __future__ import annotations

from knight.executor import InferFunction
from knight.registry import Registry

tasks: Registry[InferFunction] = Registry("infer function", "knight.tasks", "knight.tasks", "infer")
