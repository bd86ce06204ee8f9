"""YOLOv11 (also YOLO11): its boxes are written as YOLOv8's are."""

from knight.tasks._decoders.yolov8 import decoder

__all__ = ["decoder"]
