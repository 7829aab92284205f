"""What a preset is, and what must hold for one."""

from collections import Counter
from statistics import median
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Precision = Literal["float32", "tf32", "float16"]

TRAINING_PASSES = 3
"""Forward passes that a training sample counts for: one forward, and a backward of twice that."""

MOST_PEAK_MISMATCH = 0.01
"""How far a stated peak may be from its arithmetic; data sheets round to two or three digits."""


class _Part(BaseModel):
    """Unknown fields, text for numbers, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Source(_Part):
    """The document that states a figure."""

    title: Text
    publisher: Text
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
    version: Text | None = None
    url: Annotated[str, Field(pattern=r"^https://\S+$")] | None = None


class Workload(_Part):
    """A whole network that was measured."""

    title: Text
    flops_per_sample: Positive
    source: Source


class Arithmetic(_Part):
    """A peak as units times clock times FLOPs per unit and cycle."""

    units: Count
    unit: Text
    clock_hz: Positive
    flops_per_unit_and_cycle: Count
    source: Source | None = None
    """Of the FLOPs per unit and cycle, where the source of the peak does not state them."""

    @property
    def flops_per_s(self) -> float:
        """The product."""
        return self.units * self.clock_hz * self.flops_per_unit_and_cycle


class Measurement(_Part):
    """How fast a whole network ran."""

    workload: Workload
    batch_size: Count | None = None
    """None: as large as memory allows."""
    training: bool = False
    samples_per_s: Positive | None = None
    seconds_per_sample: Positive | None = None
    measured_clock_hz: Positive | None = None
    """The clock of this run; None: that of the peak."""
    source: Source

    @model_validator(mode="after")
    def _one_speed(self) -> "Measurement":
        if (self.samples_per_s is None) == (self.seconds_per_sample is None):
            raise ValueError("state samples_per_s or seconds_per_sample, as the source does")
        return self

    @property
    def flops_per_s(self) -> float:
        """What this run sustained."""
        passes = TRAINING_PASSES if self.training else 1
        flops = self.workload.flops_per_sample * passes
        if self.seconds_per_sample is not None:
            return flops / self.seconds_per_sample
        assert self.samples_per_s is not None
        return flops * self.samples_per_s


class Peak(_Part):
    """What a machine could do at best in one precision, and what was measured of it."""

    precision: Precision
    peak_flops_per_s: Positive
    arithmetic: Arithmetic | None = None
    source: Source
    measurements: tuple[Measurement, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _figures_agree(self) -> "Peak":
        arithmetic = self.arithmetic
        if arithmetic is not None:
            mismatch = abs(arithmetic.flops_per_s / self.peak_flops_per_s - 1)
            if mismatch > MOST_PEAK_MISMATCH:
                raise ValueError(
                    f"the arithmetic gives {arithmetic.flops_per_s:.4g} FLOPS, not "
                    f"{self.peak_flops_per_s:.4g}"
                )
        for measurement in self.measurements:
            if measurement.measured_clock_hz is not None and arithmetic is None:
                raise ValueError("measured_clock_hz needs the clock of the peak: its arithmetic")
            if self.efficiency_of(measurement) > 1:
                raise ValueError(f"{measurement.workload.title} ran faster than the peak")
        return self

    def efficiency_of(self, measurement: Measurement) -> float:
        """What a run sustained over the peak at the clock of that run."""
        peak_flops_per_s = self.peak_flops_per_s
        if measurement.measured_clock_hz is not None and self.arithmetic is not None:
            peak_flops_per_s *= measurement.measured_clock_hz / self.arithmetic.clock_hz
        return measurement.flops_per_s / peak_flops_per_s

    @property
    def efficiency(self) -> float | None:
        """Sustained over peak: the median over the measurements; None where there are none."""
        if not self.measurements:
            return None
        return median(self.efficiency_of(measurement) for measurement in self.measurements)

    @property
    def flops_per_s(self) -> float | None:
        """Sustained speed: the peak times the efficiency; None where nothing was measured."""
        efficiency = self.efficiency
        return None if efficiency is None else self.peak_flops_per_s * efficiency


class Memory(_Part):
    """The memory of a machine, all of it."""

    memory_bytes: Count
    source: Source


class Power(_Part):
    """What a machine draws while it computes."""

    compute_w: Positive
    source: Source


class MachinePreset(_Part):
    """A device or a server. Its ``flops_per_s`` is what ``/split`` takes."""

    name: Name
    title: Text
    power_mode: Text
    precision: Precision
    """The peak that ``flops_per_s`` comes from."""
    note: Text | None = None
    """What to know before using its figures."""
    memory: Memory | None = None
    power: Power | None = None
    peaks: tuple[Peak, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _has_its_peak(self) -> "MachinePreset":
        if max(Counter(peak.precision for peak in self.peaks).values(), default=1) > 1:
            raise ValueError(f"{self.name} has two peaks of one precision")
        if not any(self.precision == peak.precision and peak.measurements for peak in self.peaks):
            raise ValueError(f"{self.name} has no measured peak in {self.precision}")
        return self

    @property
    def peak(self) -> Peak:
        """The peak in the precision of this preset."""
        return next(peak for peak in self.peaks if peak.precision == self.precision)

    @property
    def peak_flops_per_s(self) -> float:
        """The peak, in FLOPs per second; dense."""
        return self.peak.peak_flops_per_s

    @property
    def efficiency(self) -> float:
        """Sustained over peak."""
        efficiency = self.peak.efficiency
        assert efficiency is not None
        return efficiency

    @property
    def flops_per_s(self) -> float:
        """Sustained speed: the peak times the efficiency, in FLOPs per second."""
        return self.peak_flops_per_s * self.efficiency

    @property
    def memory_bytes(self) -> int | None:
        """All memory, in bytes; None where no source states it."""
        return None if self.memory is None else self.memory.memory_bytes

    @property
    def compute_w(self) -> float | None:
        """What it draws while it computes, in watts; None where no source states it."""
        return None if self.power is None else self.power.compute_w


class LinkPreset(_Part):
    """A link."""

    name: Name
    title: Text
    uplink_bits_per_s: Positive
    downlink_bits_per_s: Positive
    round_trip_s: Positive | None = None
    """None where no source states it."""
    statistic: Text
    """What the figures are: medians of a campaign, say; what was carried, not what a link could."""
    note: Text | None = None
    """What to know before using its figures."""
    source: Source


class Presets(_Part):
    """All of them."""

    devices: tuple[MachinePreset, ...] = Field(strict=False)
    servers: tuple[MachinePreset, ...] = Field(strict=False)
    links: tuple[LinkPreset, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Presets":
        machines = (*self.devices, *self.servers)
        names = [machine.name for machine in machines] + [link.name for link in self.links]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"names that stand twice: {', '.join(twice)}")
        return self
