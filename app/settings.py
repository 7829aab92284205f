"""Settings of the service, read from the environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field ``x`` is read from ``KERF_X``; the README lists them all."""

    model_config = SettingsConfigDict(env_prefix="KERF_", extra="ignore")

    data_dir: Path = Field(
        default=Path("data"),
        description="Directory of the embedded SQLite database; made when missing.",
    )
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the database; SQLite under the data directory when unset.",
    )
    cache_bytes: int = Field(
        default=256 * 2**20,
        gt=0,
        description="Bytes of prepared models that one process holds in memory at most.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Level of the log: debug, info, warning or error."
    )

    @property
    def effective_database_url(self) -> str:
        """The database's URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'kerf.db'}"
