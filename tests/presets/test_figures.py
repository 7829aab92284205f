"""The packaged presets: every figure has a source, and is what its source and arithmetic say."""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from statistics import median
from typing import Any

import pytest

from app.presets import LinkPreset, MachinePreset, all_presets
from app.presets.models import Peak, Source
from tests.fixture_models import ingested

PRESETS = all_presets()
MACHINES = (*PRESETS.devices, *PRESETS.servers)
WANTED = {
    "devices": "jetson-tx1 jetson-tx2 jetson-nano jetson-xavier-nx jetson-orin-nano "
    "jetson-agx-orin raspberry-pi-4 raspberry-pi-5",
    "servers": "rtx-a6000 t4 a100 h100 cpu-16-core",
    "links": "3g lte 5g-sub-6 5g-mmwave wifi-5 wifi-6 ethernet-1g",
}
COUNTED_BY_KERF = {
    "ResNet-50 v1.5, 224 x 224": "resnet50",
    "AlexNet (BVLC), 224 x 224": "light_bvlc_alexnet",
    "GoogLeNet (Inception v1), 224 x 224": "light_inception_v1",
    "DenseNet-121, 224 x 224": "light_densenet121",
    "VGG-19, 224 x 224": "light_vgg19",
}


def peaks() -> Iterator[tuple[MachinePreset, Peak]]:
    for machine in MACHINES:
        for peak in machine.peaks:
            yield machine, peak


def sources_in(part: Any) -> Iterator[Source]:
    """Every source of a preset, however deep."""
    if isinstance(part, Source):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from sources_in(item)
    elif hasattr(type(part), "model_fields"):
        for field in type(part).model_fields:
            yield from sources_in(getattr(part, field))


def document() -> dict[str, Any]:
    return tomllib.loads(files("app.presets").joinpath("presets.toml").read_text("utf-8"))


@pytest.mark.parametrize("kind", WANTED)
def test_presets_are_there(kind: str) -> None:
    """The presets that are promised are there, and no others."""
    assert [preset.name for preset in getattr(PRESETS, kind)] == WANTED[kind].split()


@pytest.mark.parametrize("preset", [*MACHINES, *PRESETS.links], ids=lambda preset: preset.name)
def test_every_figure_has_source_and_date(preset: MachinePreset | LinkPreset) -> None:
    """A preset has a dated source with a publisher for each of its figures: the peaks, the
    measurements, the FLOPs of what was measured, memory and power."""
    found = list(sources_in(preset))
    expected = 1
    if isinstance(preset, MachinePreset):
        measured = sum(len(peak.measurements) for peak in preset.peaks)
        of_cycles = [peak.arithmetic and peak.arithmetic.source for peak in preset.peaks]
        optional = (preset.memory, preset.power, *of_cycles)
        expected = len(preset.peaks) + 2 * measured + sum(part is not None for part in optional)
    assert len(found) == expected
    for source in found:
        assert source.title
        assert source.publisher
        assert 2014 <= int(source.date[:4]) <= 2026


def test_no_source_or_workload_is_idle() -> None:
    """Every row of the tables of sources and workloads is named somewhere."""
    rows = document()

    def named(part: Any, field: str) -> Iterator[str]:
        if isinstance(part, dict):
            for key, value in part.items():
                yield from [value] if key == field else named(value, field)
        elif isinstance(part, list):
            for item in part:
                yield from named(item, field)

    assert set(named(rows, "source")) == set(rows["sources"])
    assert set(named(rows, "workload")) == set(rows["workloads"])


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_sustained_is_peak_times_efficiency(machine: MachinePreset) -> None:
    """`flops_per_s` is the peak of the preset's precision times the efficiency, which is below 1;
    so it is for each precision that was measured."""
    assert machine.flops_per_s == machine.peak_flops_per_s * machine.efficiency
    assert machine.peak.precision == machine.precision
    assert 0 < machine.efficiency < 1
    for peak in machine.peaks:
        if peak.measurements:
            assert peak.efficiency is not None
            assert peak.flops_per_s == peak.peak_flops_per_s * peak.efficiency
        else:
            assert peak.efficiency is None
            assert peak.flops_per_s is None


@pytest.mark.parametrize(
    ("machine", "peak"), list(peaks()), ids=lambda part: getattr(part, "name", None)
)
def test_peaks_are_their_arithmetic(machine: MachinePreset, peak: Peak) -> None:
    """A peak is units x clock x FLOPs per unit and cycle, within 1 % (exactly, where its source
    states only the factors); CUDA cores do 2 FLOPs per cycle in float32."""
    arithmetic = peak.arithmetic
    if arithmetic is None:
        assert machine.name == "h100"
        return
    product = arithmetic.units * arithmetic.clock_hz * arithmetic.flops_per_unit_and_cycle
    assert peak.peak_flops_per_s == pytest.approx(product, rel=0.01)
    if arithmetic.unit == "CUDA core" and peak.precision == "float32":
        assert arithmetic.flops_per_unit_and_cycle == 2


@pytest.mark.parametrize(
    ("name", "precision", "peak_flops_per_s"),
    [
        ("jetson-tx2", "float16", 256 * 1.3e9 * 4),
        ("jetson-nano", "float16", 472e9),
        ("raspberry-pi-4", "float32", 4 * 1.8e9 * 8),
        ("rtx-a6000", "float32", 3.87e13),
        ("t4", "float16", 65e12),
        ("a100", "float16", 312e12),
    ],
)
def test_peaks_are_the_published_ones(name: str, precision: str, peak_flops_per_s: float) -> None:
    """Known peaks, dense ones, stand in the data."""
    found = {(m.name, str(peak.precision)): peak.peak_flops_per_s for m, peak in peaks()}
    assert found[name, precision] == pytest.approx(peak_flops_per_s, rel=0.01)


def test_efficiencies_are_those_of_the_measurements() -> None:
    """Efficiencies by hand: TX2, from two networks; TX1, from runs at 691 of 998 MHz; the A100,
    from training, where a sample counts three forward passes."""
    found = {machine.name: machine.efficiency for machine in MACHINES}
    assert found["jetson-tx2"] == pytest.approx(
        median([11.42e9 / 0.0207 / 1.33e12, 60.1e9 * 9.45 / 1.33e12])
    )
    assert found["jetson-tx1"] == pytest.approx(2885261848 * 42.1 / (256 * 691e6 * 4))
    assert found["a100"] == pytest.approx(3 * 8195405312 * 1066 / 156e12)


def test_wifi_figures_are_medians_of_the_adapters() -> None:
    """Rates of Wi-Fi are the medians over the adapters of its class, each way, in Mbit/s."""
    measured = {
        "wifi-5": ([159, 152, 152, 127, 528], [251, 184, 268, 201, 486]),
        "wifi-6": ([340, 108, 819], [299, 147, 751]),
    }
    links = {link.name: link for link in PRESETS.links}
    for name, (down, up) in measured.items():
        assert links[name].downlink_bits_per_s == median(down) * 1e6
        assert links[name].uplink_bits_per_s == median(up) * 1e6
        assert "share the air" in (links[name].note or "")


def test_workloads_counted_by_kerf_are_what_kerf_counts() -> None:
    """The FLOPs of the workloads whose source is Kerf are those of the ingested models."""
    workloads = document()["workloads"].values()
    counted = {
        row["title"]: row["flops_per_sample"] for row in workloads if row["source"] == "kerf"
    }
    assert counted == {
        title: ingested(fixture).dag.total_flops for title, fixture in COUNTED_BY_KERF.items()
    }


def test_faster_machines_are_faster() -> None:
    """The order of the sustained speeds is that which anybody expects."""
    speed = {machine.name: machine.flops_per_s for machine in MACHINES}
    order = "raspberry-pi-4 raspberry-pi-5 jetson-tx1 jetson-nano jetson-tx2 jetson-xavier-nx "
    order += "jetson-orin-nano jetson-agx-orin rtx-a6000 a100 h100"
    assert sorted(order.split(), key=lambda name: speed[name]) == order.split()
