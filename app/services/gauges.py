"""What the service is like at this moment, as its metrics tell it.

Nothing on the way of a request touches these gauges: they are set when they are asked for, and,
where several processes share their metrics, once a second, as any of these may be asked.
"""

import threading
from dataclasses import dataclass

from app import metrics
from app.errors import NotReadyError
from app.services.prepared import PreparedModels
from app.services.recorder import Recorder
from app.services.spool import Spool
from app.store.database import Database

PUBLISH_S = 1.0
"""How old the gauges of another process may be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gauges are held against; see the settings of these names."""

    queue_rows: int
    queue_uploads: int
    most_requests: int
    cache_bytes: int


class Gauges:
    """The gauges of one process. No thread starts before ``start``.

    ``requests_under_way`` is for whoever answers requests to count.
    """

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        spool: Spool,
        prepared: PreparedModels,
        limits: Limits,
    ) -> None:
        self.requests_under_way = 0
        self._database = database
        self._recorder = recorder
        self._spool = spool
        self._prepared = prepared
        self._limits = limits
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Tell what does not change, and begin to publish where other processes may be asked."""
        metrics.enter()
        metrics.ROWS_LIMIT.set(self._limits.queue_rows)
        metrics.UPLOADS_LIMIT.set(self._limits.queue_uploads)
        metrics.REQUESTS_LIMIT.set(self._limits.most_requests)
        metrics.CACHE_LIMIT.set(self._limits.cache_bytes)
        if metrics.PLACE is not None:
            self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """This process is there no longer."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        metrics.leave()

    def publish(self) -> None:
        """Set what moves."""
        metrics.ROWS_WAITING.set(self._recorder.waiting_rows)
        metrics.UPLOADS_UNDER_WAY.set(self._spool.files_under_way)
        metrics.REQUESTS_UNDER_WAY.set(self.requests_under_way)
        metrics.CACHE_BYTES.set(self._prepared.nbytes)
        metrics.CACHE_MODELS.set(len(self._prepared))

    def watch_database(self) -> None:
        """Ask the database, and tell whether it answers. Raises ``NotReadyError``."""
        try:
            self._database.require_answer()
        except NotReadyError:
            metrics.DATABASE_UP.set(0)
            raise
        metrics.DATABASE_UP.set(1)

    def _run(self) -> None:
        while not self._ended.wait(PUBLISH_S):
            self.publish()
