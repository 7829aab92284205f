"""From ONNX bytes to a costed DAG: the only place that imports onnx."""

from app.ingest.ingest import IngestedModel, ModelFacts, ingest

__all__ = ["IngestedModel", "ModelFacts", "ingest"]
