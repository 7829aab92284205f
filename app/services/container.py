"""The services of one application, wired together."""

import threading
from datetime import timedelta

from app.services.access import KeyService
from app.services.gauges import Gauges, Limits
from app.services.halves import HalfService
from app.services.models import ModelService
from app.services.posing import Posing
from app.services.prepared import PreparedModels
from app.services.profiles import ProfileService
from app.services.recorder import Recorder
from app.services.splits import SplitService
from app.services.spool import Spool
from app.services.upkeep import Retention, Upkeep
from app.services.workers import WorkerLimits, Workers
from app.settings import Settings
from app.store.blobs import open_blobs
from app.store.database import Database


class Services:
    """All services over one database; nothing connects, and no process starts, before ``start``."""

    def __init__(self, settings: Settings) -> None:
        self.database = Database(settings.effective_database_url)
        self.keys = KeyService(self.database)
        self.prepared = PreparedModels(self.database, settings.cache_bytes)
        self.workers = Workers(
            settings.ingest_workers, _worker_limits(settings), settings.queue_uploads
        )
        self.spool = Spool(
            settings.data_dir.resolve() / "uploads", settings.upload_bytes, settings.queue_uploads
        )
        self.blobs = open_blobs(settings.effective_blob_url)
        self.models = ModelService(
            self.database, self.prepared, self.workers, self.blobs, settings.keep_weights
        )
        self.profiles = ProfileService(self.database, self.prepared)
        self.recorder = Recorder(self.database, settings.queue_rows)
        self.splits = SplitService(
            self.database, self.prepared, Posing(self.profiles), self.recorder
        )
        self.halves = HalfService(
            self.database, self.prepared, self.workers, self.blobs, self.spool
        )
        self.gauges = Gauges(
            self.database, self.recorder, self.spool, self.prepared, _limits(settings)
        )
        self.upkeep = Upkeep(
            self.database,
            (
                self.gauges.watch_database,
                self.prepared.drop_deleted,
                self.profiles.drop_deleted,
                self.keys.drop_revoked,
            ),
            _retention(settings),
        )
        self.readiness = {"database": self.database.ping}

    def start(self) -> None:
        """Migrate where the database is Kerf's own (SQLite); elsewhere that is a step apart."""
        self.workers.start()
        self.spool.clear()
        if self.database.is_sqlite:
            self.database.migrate()
        self.recorder.start()
        self.upkeep.start()
        self.gauges.start()
        # Nobody waits for it, and the end of the service least of all.
        threading.Thread(target=self.models.sweep_files, daemon=True).start()

    def stop(self) -> None:
        """Commit what waits, close what is open, and end the worker processes."""
        self.upkeep.stop()
        self.recorder.stop()
        self.gauges.stop()
        self.workers.stop()
        self.database.close()


def _retention(settings: Settings) -> Retention:
    days = settings.keep_splits_days
    return Retention(None if days is None else timedelta(days=days), settings.keep_splits_count)


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.queue_rows, settings.queue_uploads, settings.most_requests, settings.cache_bytes
    )


def _worker_limits(settings: Settings) -> WorkerLimits:
    return WorkerLimits(
        memory_bytes=settings.ingest_memory_bytes,
        seconds=settings.ingest_seconds,
        model={
            "graph_bytes": settings.graph_bytes,
            "nodes": settings.model_nodes,
            "nesting": settings.nesting,
            "name_bytes": settings.name_bytes,
        },
    )
