"""YOLOv7 with anchors: its boxes are written as YOLOv5's are."""

from knight.tasks._decoders.yolov5 import decoder

__all__ = ["decoder"]
