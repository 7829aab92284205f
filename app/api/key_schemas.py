"""API keys in requests and answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.rules import PRINTABLE

_ID = "5f0c1d2e3a4b5c6d7e8f901234567890"
KEY_REQUEST = {"name": "orchestrator 1", "scopes": ["split", "read"], "requests_per_s": 1000}
KEY_ANSWER = {
    "id": _ID,
    "tenant": "acme",
    "name": "orchestrator 1",
    "scopes": ["split", "read"],
    "requests_per_s": 1000,
    "most_models": None,
    "most_bytes": None,
    "created_at": "2026-01-31T12:00:00.000000+00:00",
    "revoked_at": None,
    "key": f"kerf_{_ID}_{'0' * 64}",
}


class KeyIn(BaseModel):
    """A key to make, for the tenant of the key that asks."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        description="Name for people.",
        min_length=1,
        max_length=200,
        pattern=PRINTABLE,
        examples=["orchestrator 1"],
    )
    scopes: list[Literal["models:write", "split", "read", "admin"]] = Field(
        description="What it may do: `models:write` uploads and deletes models and profiles, "
        "`split` asks for cuts, `read` reads all, `admin` makes and revokes keys.",
        min_length=1,
        max_length=4,
        examples=[["split", "read"]],
    )
    requests_per_s: float | None = Field(
        default=None,
        gt=0,
        strict=True,
        le=1e6,
        allow_inf_nan=False,
        description="Requests that it may make per second of one process of the service; no limit "
        "if left out.",
        examples=[1000],
    )
    most_models: int | None = Field(
        default=None,
        ge=0,
        strict=True,
        le=2**31 - 1,
        description="How many models its tenant may have; it uploads none beyond that. No limit if "
        "left out.",
        examples=[100],
    )
    most_bytes: int | None = Field(
        default=None,
        ge=0,
        strict=True,
        le=2**63 - 1,
        description="How many bytes the files of its tenant's models may have, as uploaded; it "
        "uploads none beyond that. No limit if left out.",
        examples=[1_000_000_000],
    )


class KeyOut(BaseModel):
    """A key, without the secret in it."""

    id: str = Field(description="Id of the key.", examples=[_ID])
    tenant: str = Field(description="Whose models and results it sees.", examples=["acme"])
    name: str = Field(description="Name for people.", examples=["orchestrator 1"])
    scopes: list[str] = Field(description="What it may do.", examples=[["split", "read"]])
    requests_per_s: float | None = Field(
        description="Requests that it may make per second of one process; null: no limit.",
        examples=[1000],
    )
    most_models: int | None = Field(
        description="How many models its tenant may have; null: no limit.", examples=[100]
    )
    most_bytes: int | None = Field(
        description="How many bytes the files of its tenant's models may have; null: no limit.",
        examples=[1_000_000_000],
    )
    created_at: str = Field(
        description="When it was made.", examples=["2026-01-31T12:00:00.000000+00:00"]
    )
    revoked_at: str | None = Field(
        description="When it was revoked; null while it is valid.", examples=[None]
    )


class NewKeyOut(KeyOut):
    """A key that was just made, with what its owner sends."""

    key: str = Field(
        description="The key itself, shown this once: `Authorization: Bearer` and this.",
        examples=[f"kerf_{_ID}_{'0' * 64}"],
    )


class KeyPage(BaseModel):
    """A page of keys."""

    items: list[KeyOut] = Field(description="Newest first, revoked ones included.")
    next_cursor: str | None = Field(
        description="Pass it as `cursor` for the next page; null on the last.", examples=[None]
    )
