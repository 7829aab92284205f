"""The services of one application, wired together."""

from app.services.models import ModelService
from app.services.prepared import PreparedModels
from app.services.splits import SplitService
from app.settings import Settings
from app.store.database import Database


class Services:
    """All services over one database; nothing connects before ``start``."""

    def __init__(self, settings: Settings) -> None:
        self.database = Database(settings.effective_database_url)
        self.prepared = PreparedModels(self.database, settings.cache_bytes)
        self.models = ModelService(self.database, self.prepared)
        self.splits = SplitService(self.database, self.prepared)
        self.readiness = {"database": self.database.ping}

    def start(self) -> None:
        """Migrate where the database is Kerf's own (SQLite); elsewhere that is a step apart."""
        if self.database.is_sqlite:
            self.database.migrate()

    def stop(self) -> None:
        """Close what is open."""
        self.database.close()
