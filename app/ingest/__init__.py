"""From ONNX bytes to a costed DAG."""

from app.ingest.ingest import (
    DissectedModel,
    IngestedModel,
    IngestOptions,
    ModelFacts,
    ReadFile,
    digest_file,
    dissect_file,
    ingest,
    ingest_file,
    read_file,
)
from app.ingest.limits import Limits

__all__ = [
    "DissectedModel",
    "IngestOptions",
    "IngestedModel",
    "Limits",
    "ModelFacts",
    "ReadFile",
    "digest_file",
    "dissect_file",
    "ingest",
    "ingest_file",
    "read_file",
]
