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
├── HalvesUnavailableError            a half whose weights, or whose graph, is not kept
├── WrongFileError                    a local file that is not the uploaded model
├── MissingDataError                  external data of a local file that is not there
├── CannotRunError                    ONNX Runtime cannot load or run a model
├── UnknownPresetError                a name that is no preset's
├── InvalidProfileError               measured seconds that do not fit their model
├── DiskFullError                     no room for a file
├── AccessError                       a request that its key, or the lack of one, does not allow
│   ├── UnauthenticatedError          no key, or none that is valid
│   ├── ForbiddenError                a key without the scope that a call needs
│   ├── QuotaError                    more models or bytes than a key may have
│   └── RateLimitError                more requests than a key may make in a second
├── KeyReusedError                    an Idempotency-Key that stands for another request
└── NotReadyError                     the service cannot answer now
    └── BusyError                     a queue is full
"""

from app.core.errors import KerfError

__all__ = [
    "AccessError",
    "BadBindingError",
    "BadCursorError",
    "BusyError",
    "CannotRunError",
    "DiskFullError",
    "ForbiddenError",
    "HalvesUnavailableError",
    "IngestError",
    "InvalidModelError",
    "InvalidProfileError",
    "KerfError",
    "KeyReusedError",
    "LimitExceededError",
    "MissingDataError",
    "NotFoundError",
    "NotOnnxError",
    "NotReadyError",
    "QuotaError",
    "RateLimitError",
    "ReaderFailedError",
    "UnauthenticatedError",
    "UnboundDimensionError",
    "UnknownPresetError",
    "UnknownShapeError",
    "WrongFileError",
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


class HalvesUnavailableError(KerfError):
    """A half of a model was asked for whose weights, or whose graph, the service does not have."""


class WrongFileError(KerfError):
    """A local file is not the model that was uploaded, or that a split divides."""


class MissingDataError(KerfError):
    """External data that a local file refers to are not there, or end too early."""


class CannotRunError(KerfError):
    """ONNX Runtime cannot load or run a model."""


class UnknownPresetError(KerfError):
    """A name that is no preset's."""


class InvalidProfileError(KerfError):
    """Measured seconds do not fit the model that they are said to be of."""


class DiskFullError(KerfError):
    """There is no room for a file."""


class AccessError(KerfError):
    """A request is not allowed."""


class UnauthenticatedError(AccessError):
    """There is no key in the request, or none that is valid."""


class ForbiddenError(AccessError):
    """The key does not have the scope that a call needs."""


class QuotaError(AccessError):
    """More models, or bytes of them, than a key may have."""


class RateLimitError(AccessError):
    """More requests than a key may make; ``retry_after_s``: when there is room for one more."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class KeyReusedError(KerfError):
    """An Idempotency-Key that stands for another request already."""


class NotReadyError(KerfError):
    """The service cannot answer now, but may before long."""

    retry_after_s = 1.0


class BusyError(NotReadyError):
    """There is more to do than the service keeps waiting."""
