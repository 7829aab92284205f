"""The services of one application, wired together."""

import threading

from app.services.halves import HalfService
from app.services.models import ModelService
from app.services.posing import Posing
from app.services.prepared import PreparedModels
from app.services.profiles import ProfileService
from app.services.splits import SplitService
from app.services.spool import Spool
from app.services.workers import WorkerLimits, Workers
from app.settings import Settings
from app.store.blobs import open_blobs
from app.store.database import Database


class Services:
    """All services over one database; nothing connects, and no process starts, before ``start``."""

    def __init__(self, settings: Settings) -> None:
        self.database = Database(settings.effective_database_url)
        self.prepared = PreparedModels(self.database, settings.cache_bytes)
        self.workers = Workers(settings.ingest_workers, _worker_limits(settings))
        self.spool = Spool(settings.data_dir.resolve() / "uploads", settings.upload_bytes)
        self.blobs = open_blobs(settings.effective_blob_url)
        self.models = ModelService(
            self.database, self.prepared, self.workers, self.blobs, settings.keep_weights
        )
        self.profiles = ProfileService(self.database, self.prepared)
        self.splits = SplitService(self.database, self.prepared, Posing(self.profiles))
        self.halves = HalfService(
            self.database, self.prepared, self.workers, self.blobs, self.spool
        )
        self.readiness = {"database": self.database.ping}

    def start(self) -> None:
        """Migrate where the database is Kerf's own (SQLite); elsewhere that is a step apart."""
        self.workers.start()
        self.spool.clear()
        if self.database.is_sqlite:
            self.database.migrate()
        # Nobody waits for it, and the end of the service least of all.
        threading.Thread(target=self.models.sweep_files, daemon=True).start()

    def stop(self) -> None:
        """Close what is open, and end the worker processes."""
        self.workers.stop()
        self.database.close()


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
