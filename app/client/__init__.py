"""A typed client of the service, one that waits and one that awaits."""

from app.client.async_client import AsyncClient
from app.client.errors import (
    ClientError,
    InterruptedDownloadError,
    NotCoveredError,
    ProblemError,
    UnexpectedAnswerError,
    UnreachableError,
    UnusableKeyError,
)
from app.client.link_measurement import LinkMeasurement, Spread
from app.client.local_cuts import LocalCuts, PricedCut
from app.client.sync_client import Client
from app.client.uploads import Uploaded

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "InterruptedDownloadError",
    "LinkMeasurement",
    "LocalCuts",
    "NotCoveredError",
    "PricedCut",
    "ProblemError",
    "Spread",
    "UnexpectedAnswerError",
    "UnreachableError",
    "UnusableKeyError",
    "Uploaded",
]
