"""The tree of domain errors. ``app.api.problems`` maps each to its HTTP status.

KerfError (app.core.errors)
├── SplitError (app.core.errors)      see there
├── IngestError                       an uploaded model that Kerf cannot take
│   ├── NotOnnxError                  the bytes are not an ONNX model
│   ├── InvalidModelError             an ONNX model that breaks the rules of ONNX
│   ├── UnboundDimensionError         a symbolic dimension without a value
│   ├── BadBindingError               a value for a dimension that cannot be
│   └── UnknownShapeError             tensors whose size cannot be told
├── NotFoundError                     an id that names nothing here
├── BadCursorError                    a page cursor that Kerf did not make
└── NotReadyError                     the service cannot answer now
"""

from app.core.errors import KerfError

__all__ = [
    "BadBindingError",
    "BadCursorError",
    "IngestError",
    "InvalidModelError",
    "KerfError",
    "NotFoundError",
    "NotOnnxError",
    "NotReadyError",
    "UnboundDimensionError",
    "UnknownShapeError",
]


class IngestError(KerfError):
    """An uploaded model that Kerf cannot take."""


class NotOnnxError(IngestError):
    """The bytes are not an ONNX model."""


class InvalidModelError(IngestError):
    """An ONNX model that breaks the rules of ONNX."""


class UnboundDimensionError(IngestError):
    """A symbolic dimension that the caller has to bind."""


class BadBindingError(IngestError):
    """A binding in ``dims`` that the model does not allow."""


class UnknownShapeError(IngestError):
    """Tensors whose size cannot be told."""


class NotFoundError(KerfError):
    """An id that names nothing here."""


class BadCursorError(KerfError):
    """A page cursor that Kerf did not make."""


class NotReadyError(KerfError):
    """The service cannot answer now."""
