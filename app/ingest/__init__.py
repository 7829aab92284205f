"""From ONNX bytes to a costed DAG: the only place that imports onnx."""

from app.ingest.ingest import (
    IngestedModel,
    IngestOptions,
    ModelFacts,
    ingest,
    ingest_file,
)
from app.ingest.limits import Limits

__all__ = [
    "IngestOptions",
    "IngestedModel",
    "Limits",
    "ModelFacts",
    "ingest",
    "ingest_file",
]
