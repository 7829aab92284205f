"""A model divided in two: the halves as ONNX, and the proof that they do what the whole does."""

from app.halves.cutting import HalfFile, HalfFiles, cut_file
from app.halves.division import Division

__all__ = ["Division", "HalfFile", "HalfFiles", "cut_file"]
