"""Settings of the service, read from the environment."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.store.blobs.location import parse_blob_url


class Settings(BaseSettings):
    """Each field ``x`` is read from ``KERF_X``; the README lists them all."""

    model_config = SettingsConfigDict(env_prefix="KERF_", extra="ignore")

    data_dir: Path = Field(
        default=Path("data"),
        description="Directory of the embedded SQLite database and of files that are being "
        "uploaded; made when missing.",
    )
    database_url: str | None = Field(
        default=None,
        description="URL of the database, such as `postgresql://user@host/database`; SQLite under "
        "the data directory when unset.",
    )
    auth: Literal["off", "keys"] = Field(
        default="off",
        description="`off`: everybody may do everything, and the service listens on this machine "
        "only; `keys`: every request needs an API key, but for `/docs` and the checks of health.",
    )
    auth_off_anywhere: bool = Field(
        default=False,
        description="Let the service listen beyond this machine although `auth` is `off`.",
    )
    keep_splits_days: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Days after which stored results are deleted; never when unset.",
    )
    keep_splits_count: int | None = Field(
        default=None,
        gt=0,
        description="Stored results that are kept of each tenant, the newest; all when unset.",
    )
    queue_rows: int = Field(
        default=10_000,
        gt=0,
        description="Results that wait to be committed in one process at most; 503 for more.",
    )
    queue_uploads: int = Field(
        default=64,
        gt=0,
        description="Uploads that arrive or wait to be read in one process at most; 503 for more.",
    )
    most_requests: int = Field(
        default=1000,
        gt=0,
        description="Requests that are under way in one process at most; 503 for more.",
    )
    cache_bytes: int = Field(
        default=256 * 2**20,
        gt=0,
        description="Bytes of prepared models that one process holds in memory at most.",
    )
    upload_bytes: int = Field(
        default=2**31,
        gt=0,
        description="Bytes of an uploaded file at most; while it arrives it is on the disk of the "
        "data directory, in `uploads`.",
    )
    graph_bytes: int = Field(
        default=64 * 2**20,
        gt=0,
        description="Bytes of a model at most, the data of its weights left out.",
    )
    model_nodes: int = Field(
        default=100_000,
        gt=0,
        description="Nodes of a model at most, functions inlined.",
    )
    nesting: int = Field(
        default=16,
        ge=0,
        description="How deep a model may nest graphs in graphs (an If in a Loop and so on).",
    )
    name_bytes: int = Field(
        default=4096, gt=0, description="Bytes of each name in a model at most."
    )
    ingest_memory_bytes: int = Field(
        default=2**30,
        gt=0,
        le=2**50,
        description="Bytes of memory that a process may take which reads a model, the interpreter "
        "and its libraries included.",
    )
    ingest_seconds: float = Field(
        default=60,
        gt=0,
        le=86_400,
        description="Seconds that reading a model may take; a quarter of it is for its first cut "
        "table, without which it is accepted all the same.",
    )
    ingest_workers: int = Field(
        default=2,
        ge=1,
        description="Models that one process of the service has read at a time, each by a process "
        "of its own; other uploads wait.",
    )
    keep_weights: bool = Field(
        default=False,
        description="Keep the uploaded files that hold weights, so that the halves of their models "
        "come with them.",
    )
    blob_url: str | None = Field(
        default=None,
        description="Where these files are kept: `file:///directory` or `s3://bucket/prefix`; the "
        "directory `blobs` under the data directory when unset.",
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        le=600,
        description="Seconds between SIGTERM and the end of listening, in which `/readyz` fails "
        "and requests are still served, so that balancers notice.",
    )
    end_seconds: int = Field(
        default=5,
        ge=1,
        le=600,
        description="Seconds that requests under way have after the end of listening.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Level of the log: debug, info, warning or error. Of libraries it has warnings "
        "and errors, whatever the level.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="`text`: lines for people; `json`: an object in each line, for programs.",
    )
    log_requests: bool = Field(
        default=False, description="Log every request: route, status, seconds, tenant and key id."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="Where traces are sent to with OTLP over HTTP, such as "
        "`http://collector:4318`; none are made when unset, unless OpenTelemetry's own variables "
        "name an endpoint.",
    )

    @field_validator("blob_url")
    @classmethod
    def _is_blob_url(cls, url: str | None) -> str | None:
        if url is not None:
            parse_blob_url(url)
        return url

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_http_url(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("a URL such as http://collector:4318, without /v1/traces")
        return url

    @property
    def effective_database_url(self) -> str:
        """The database's URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'kerf.db'}"

    @property
    def effective_blob_url(self) -> str:
        """The blob store's URL with its default filled in."""
        return self.blob_url or (self.data_dir.resolve() / "blobs").as_uri()
