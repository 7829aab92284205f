"""The tree of domain errors. ``app.api.problems`` maps each to its HTTP status.

KerfError (app.core.errors)
├── SplitError (app.core.errors)      see there
├── IngestError                       an uploaded model that Kerf cannot take
│   ├── NotOnnxError                  the bytes are not an ONNX model
│   ├── InvalidModelError             an ONNX model that breaks the rules of ONNX
│   ├── UnboundDimensionError         a symbolic dimension without a value
│   ├── BadBindingError               a value for a dimension that cannot be
│   ├── UnknownShapeError             tensors whose size cannot be told, and nothing to cut
│   ├── LimitExceededError            a model beyond a limit of this service
│   └── ReaderFailedError             the process that read the model died of it
├── NotFoundError                     an id that names nothing here
├── BadCursorError                    a page cursor that Kerf did not make
├── DiskFullError                     no room for an upload
└── NotReadyError                     the service cannot answer now
"""

from app.core.errors import KerfError

__all__ = [
    "BadBindingError",
    "BadCursorError",
    "DiskFullError",
    "IngestError",
    "InvalidModelError",
    "KerfError",
    "LimitExceededError",
    "NotFoundError",
    "NotOnnxError",
    "NotReadyError",
    "ReaderFailedError",
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
    """Tensors whose size cannot be told, so many that nothing could be cut."""


class LimitExceededError(IngestError):
    """A model that is larger, deeper or slower to read than this service allows."""


class ReaderFailedError(IngestError):
    """The process that read a model died of it."""


class NotFoundError(KerfError):
    """An id that names nothing here."""


class BadCursorError(KerfError):
    """A page cursor that Kerf did not make."""


class DiskFullError(KerfError):
    """There is no room for an upload."""


class NotReadyError(KerfError):
    """The service cannot answer now."""
