"""Queries and answers of the link's measurement."""

from pydantic import BaseModel, ConfigDict, Field

MOST_DOWNLINK_BYTES = 2**26
"""Seconds of a link of 100 Mbit/s; whoever has a faster one asks again."""


class ProbeQuery(BaseModel):
    """How much to send."""

    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(
        default=0,
        ge=0,
        le=MOST_DOWNLINK_BYTES,
        description="How many bytes to answer with; none to measure the round trip alone.",
        examples=[65536],
    )


class ProbeOut(BaseModel):
    """What arrived."""

    received_bytes: int = Field(description="Length of the body, in bytes.", examples=[65536])
