"""Answers about presets: common devices, servers and links with their sources."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["float32", "tf32", "float16"]


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class SourceOut(_Out):
    """The document that states a figure."""

    title: str = Field(
        description="Title.",
        examples=["NVIDIA Jetson TX2 Delivers Twice the Intelligence to the Edge"],
    )
    publisher: str = Field(description="Who published it.", examples=["NVIDIA"])
    date: str = Field(
        description="When: a year, a month of a year, or a day (ISO 8601).",
        examples=["2017-03-07"],
    )
    version: str | None = Field(
        description="Version of the document, or commit; null where it has none.",
        examples=["v1.1"],
    )
    url: str | None = Field(
        description="Where it is; null where that is not certain.",
        examples=["https://devblogs.nvidia.com/jetson-tx2-delivers-twice-intelligence-edge/"],
    )


class WorkloadOut(_Out):
    """A whole network that was measured."""

    title: str = Field(description="Network and input.", examples=["YOLOv4, 416 x 416"])
    flops_per_sample: float = Field(
        description="Forward FLOPs of one sample (1 multiply-accumulate = 2 FLOPs).",
        examples=[60.1e9],
    )
    source: SourceOut = Field(description="Where the count comes from.")


class MeasurementOut(_Out):
    """How fast a whole network ran; `samples_per_s` or `seconds_per_sample`, as published."""

    workload: WorkloadOut = Field(description="What ran.")
    batch_size: int | None = Field(
        description="Samples per batch; null for as many as memory allows.", examples=[1]
    )
    training: bool = Field(
        description="A sample is a forward and a backward pass, counted as three forward passes.",
        examples=[False],
    )
    samples_per_s: float | None = Field(
        description="Samples per second; null where seconds are published.", examples=[9.45]
    )
    seconds_per_sample: float | None = Field(
        description="Seconds per sample; null where samples per second are published.",
        examples=[0.0207],
    )
    measured_clock_hz: float | None = Field(
        description="How many cycles per second (Hz) in this run, whose efficiency is over the "
        "peak at this clock; null for the clock of the peak.",
        examples=[691e6],
    )
    flops_per_s: float = Field(
        description="What this run sustained, in FLOPs per second.", examples=[567.9e9]
    )
    source: SourceOut = Field(description="Who measured it.")


class ArithmeticOut(_Out):
    """A peak as units times clock times FLOPs per unit and cycle."""

    units: int = Field(description="How many units compute.", examples=[256])
    unit: str = Field(description="What they are.", examples=["CUDA core"])
    clock_hz: float = Field(
        description="How many cycles per second (Hz), in the power mode of the preset.",
        examples=[1.3e9],
    )
    flops_per_unit_and_cycle: int = Field(
        description="FLOPs of one unit in one cycle; dense.", examples=[4]
    )
    source: SourceOut | None = Field(
        description="Of the FLOPs per unit and cycle; null where the source of the peak has them."
    )


class PeakOut(_Out):
    """What a machine could do at best in one precision, and what was measured of it."""

    precision: Precision = Field(
        description="`float32`, `tf32` (what tensor cores make of float32) or `float16`.",
        examples=["float16"],
    )
    peak_flops_per_s: float = Field(
        description="Peak speed, in FLOPs per second; dense.", examples=[1.33e12]
    )
    arithmetic: ArithmeticOut | None = Field(
        description="Where the peak is a product; within 1 % of it. Else null."
    )
    source: SourceOut = Field(description="Who states the peak, or the factors of it.")
    efficiency: float | None = Field(
        description="Sustained FLOPs over peak FLOPs: the median over the measurements; null "
        "where there are none.",
        examples=[0.42],
    )
    flops_per_s: float | None = Field(
        description="Sustained forward speed, in FLOPs per second: peak times efficiency; null "
        "where nothing was measured.",
        examples=[5.6e11],
    )
    measurements: list[MeasurementOut] = Field(
        description="What the efficiency comes from: whole networks at small batches, mostly."
    )


class MemoryOut(_Out):
    """The memory of a machine."""

    memory_bytes: int = Field(
        description="All memory, in bytes; the operating system takes its part of it.",
        examples=[8589934592],
    )
    source: SourceOut = Field(description="Who states it.")


class PowerOut(_Out):
    """What a machine draws while it computes."""

    compute_w: float = Field(
        description="In watts: the budget of the power mode, the limit of the board, or what was "
        "measured under full load; the source says which.",
        examples=[10.0],
    )
    source: SourceOut = Field(description="Who states it.")


class MachinePresetOut(_Out):
    """A device or a server."""

    name: str = Field(description="Name to ask for it by.", examples=["jetson-tx2"])
    title: str = Field(description="What it is.", examples=["NVIDIA Jetson TX2 (8 GB)"])
    power_mode: str = Field(
        description="The power mode that its figures are for.", examples=["MAXN, GPU at 1.3 GHz"]
    )
    precision: Precision = Field(
        description="Which of its peaks `flops_per_s` comes from.", examples=["float16"]
    )
    flops_per_s: float = Field(
        description="Sustained forward speed, in FLOPs per second: `peak_flops_per_s` times "
        "`efficiency`. This is what `POST /split` takes.",
        examples=[5.6e11],
    )
    peak_flops_per_s: float = Field(
        description="Peak speed in this precision, in FLOPs per second; dense.", examples=[1.33e12]
    )
    efficiency: float = Field(
        description="Sustained FLOPs over peak FLOPs, for whole networks.", examples=[0.42]
    )
    note: str | None = Field(
        description="What to know before using its figures; null for nothing more.",
        examples=["measured in training, with batches as large as memory allows"],
    )
    memory: MemoryOut | None = Field(description="Its memory; null where no source states it.")
    power: PowerOut | None = Field(
        description="What it draws while it computes; null where no source states it."
    )
    peaks: list[PeakOut] = Field(description="Its peaks, one per precision, with their sources.")


class LinkPresetOut(_Out):
    """A link. Its figures are what it carried, so they have no efficiency."""

    name: str = Field(description="Name to ask for it by.", examples=["lte"])
    title: str = Field(description="What it is.", examples=["LTE (4G)"])
    uplink_bits_per_s: float = Field(
        description="Bandwidth from device to server, in bits per second.", examples=[13.6e6]
    )
    downlink_bits_per_s: float = Field(
        description="Bandwidth from server to device, in bits per second.", examples=[14.7e6]
    )
    round_trip_s: float | None = Field(
        description="Round-trip time, in seconds; null where no source states it, and then it "
        "counts as 0 unless you state one.",
        examples=[0.0531],
    )
    statistic: str = Field(
        description="What the figures are: averages or medians, over what, and when.",
        examples=["averages over 120,000 samples"],
    )
    note: str | None = Field(
        description="What to know before using its figures; null for nothing more.",
        examples=["both directions share the air"],
    )
    source: SourceOut = Field(description="Who measured it.")


class PresetsOut(_Out):
    """All presets. Names are unique over the three lists."""

    devices: list[MachinePresetOut] = Field(description="Common devices.")
    servers: list[MachinePresetOut] = Field(description="Common servers.")
    links: list[LinkPresetOut] = Field(description="Common links.")
