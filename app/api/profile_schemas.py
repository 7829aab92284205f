"""Bodies about profiles: what was measured of machines."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from app.api.examples import CURSOR, DEMO_MODEL_ID, PROFILE_ID
from app.api.profile_example import PROFILE_REQUEST
from app.api.rules import PRINTABLE, broken_rule
from app.api.schemas import NodeName, RequestBody

A_DAY_S = 86_400.0
MOST_FLOPS_PER_S = 1e18
MOST_MISMATCH = 0.05
"""Share of the whole by which the seconds of its nodes may miss it."""

_MACHINE = PROFILE_REQUEST["machine"]
_MEASURED = PROFILE_REQUEST["models"][0]

Fact = Annotated[str, Field(max_length=200, pattern=PRINTABLE)]
MeasuredSeconds = Annotated[float, Field(ge=0, le=A_DAY_S)]


class MachineFacts(RequestBody):
    """The machine that was measured, for people to compare by."""

    cpu: Fact = Field(description="Its processor.", examples=[_MACHINE["cpu"]])
    cores: int = Field(
        ge=1, le=2**20, description="How many cores it may use.", examples=[_MACHINE["cores"]]
    )
    os: Fact = Field(description="Its operating system.", examples=[_MACHINE["os"]])
    python: Fact = Field(description="Version of Python.", examples=[_MACHINE["python"]])
    onnxruntime: Fact = Field(
        description="Version of ONNX Runtime.", examples=[_MACHINE["onnxruntime"]]
    )


class MeasuredModelIn(RequestBody):
    """What was measured of one model, for batches of its `model_batch` samples."""

    model_id: str = Field(
        description="Id of an uploaded model.", max_length=64, examples=[DEMO_MODEL_ID]
    )
    flops_per_s: float = Field(
        ge=0,
        le=MOST_FLOPS_PER_S,
        description="FLOPs per second sustained on it: forward FLOPs of the model over `whole_s`, "
        "within 5 %.",
        examples=[_MEASURED["flops_per_s"]],
    )
    whole_s: float = Field(
        gt=0,
        le=A_DAY_S,
        description="Seconds of one forward run of the whole model: the median.",
        examples=[_MEASURED["whole_s"]],
    )
    spread: float = Field(
        ge=0,
        description="How much the runs differ: (90th percentile - 10th) / median of their seconds.",
        examples=[_MEASURED["spread"]],
    )
    runs: int = Field(
        ge=1, le=2**31, description="How many runs were measured.", examples=[_MEASURED["runs"]]
    )
    run_overhead_s: float = Field(
        default=0.0,
        ge=0,
        le=A_DAY_S,
        description="Seconds that a run takes longer after a pause, when caches are cold: what an "
        "iteration costs a side beside its nodes.",
        examples=[_MEASURED["run_overhead_s"]],
    )
    node_seconds: dict[NodeName, MeasuredSeconds] = Field(
        description="Seconds of one run by the name of the node, for every node of the model; they "
        "sum to `whole_s` within 5 %.",
        examples=[_MEASURED["node_seconds"]],
    )

    @model_validator(mode="after")
    def _sums_to_the_whole(self) -> Self:
        total_s = sum(self.node_seconds.values())
        if abs(total_s - self.whole_s) > MOST_MISMATCH * self.whole_s:
            raise broken_rule(
                "node_seconds",
                f"the nodes take {total_s:.6g} s together, the whole {self.whole_s:.6g} s; the two "
                "have to agree within 5 %",
            )
        return self


class ProfileIn(RequestBody):
    """A calibration: what a machine sustains on one or more models."""

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=PRINTABLE,
        description="Name for people.",
        examples=[PROFILE_REQUEST["name"]],
    )
    machine: MachineFacts = Field(description="The machine that was measured.")
    threads: int = Field(
        ge=1,
        le=2**20,
        description="How many threads ran it.",
        examples=[PROFILE_REQUEST["threads"]],
    )
    models: list[MeasuredModelIn] = Field(
        min_length=1, max_length=100, description="What was measured, each model once."
    )

    @model_validator(mode="after")
    def _has_each_model_once(self) -> Self:
        counts = Counter(measured.model_id for measured in self.models)
        twice = [model_id for model_id, count in counts.items() if count > 1]
        if twice:
            raise broken_rule("models", f"model {twice[0]!r} is there twice")
        return self


class MeasuredModelOut(BaseModel):
    """What was measured of one model."""

    model_id: str = Field(
        description="Id of the model, which may have been deleted since.", examples=[DEMO_MODEL_ID]
    )
    flops_per_s: float = Field(
        description="Sustained FLOPs per second.", examples=[_MEASURED["flops_per_s"]]
    )
    whole_s: float = Field(
        description="Seconds of one forward run: the median.", examples=[_MEASURED["whole_s"]]
    )
    spread: float = Field(
        description="(90th percentile - 10th) / median of the seconds of the runs.",
        examples=[_MEASURED["spread"]],
    )
    runs: int = Field(description="How many runs were measured.", examples=[_MEASURED["runs"]])
    run_overhead_s: float = Field(
        default=0.0,
        description="Seconds that a run takes longer after a pause.",
        examples=[_MEASURED["run_overhead_s"]],
    )
    nodes: int = Field(
        description="How many nodes have seconds of their own.",
        examples=[len(_MEASURED["node_seconds"])],
    )
    node_seconds: dict[str, float] | None = Field(
        default=None,
        description="Seconds by the name of the node; left out of lists.",
        examples=[_MEASURED["node_seconds"]],
    )


class ProfileOut(BaseModel):
    """A measured machine."""

    id: str = Field(
        description="Id of the profile: the same content has the same id.", examples=[PROFILE_ID]
    )
    name: str = Field(description="Name for people.", examples=[PROFILE_REQUEST["name"]])
    created_at: datetime = Field(
        description="When it was stored, UTC.", examples=["2026-01-31T12:00:00.000000+00:00"]
    )
    flops_per_s: float = Field(
        description="Sustained FLOPs per second over all its models: the sum of their FLOPs over "
        "the sum of their seconds.",
        examples=[_MEASURED["flops_per_s"]],
    )
    machine: MachineFacts = Field(description="The machine that was measured.")
    threads: int = Field(
        description="How many threads ran it.", examples=[PROFILE_REQUEST["threads"]]
    )
    models: list[MeasuredModelOut] = Field(description="What was measured.")


class ProfilePage(BaseModel):
    """A page of profiles, newest first."""

    items: list[ProfileOut] = Field(description="The profiles, without the seconds of their nodes.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last.", examples=[CURSOR]
    )
