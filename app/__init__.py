"""Kerf: splitting-as-a-service for neural networks."""

import os

# ONNX Runtime would send its makers word of what it is used for. It reads this when it is loaded,
# in whichever process, and before that this package is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
