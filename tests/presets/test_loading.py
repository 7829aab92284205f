"""Reading presets, and asking for them by name."""

import re
from collections.abc import Callable
from importlib.resources import files

import pytest

from app.errors import KerfError, UnknownPresetError
from app.presets import all_presets, link_named, machine_named
from app.presets.loading import read_presets

TEXT = files("app.presets").joinpath("presets.toml").read_text("utf-8")


def test_names_lead_to_presets() -> None:
    """Every device and server is found as a machine, every link as a link."""
    presets = all_presets()
    for machine in (*presets.devices, *presets.servers):
        assert machine_named(machine.name) is machine
    for link in presets.links:
        assert link_named(link.name) is link


@pytest.mark.parametrize(
    ("find", "name", "near"),
    [
        (machine_named, "jetson-tx3", "jetson-tx2"),
        (machine_named, "Jetson TX2", "jetson-tx2"),
        (machine_named, "raspberry_pi_5", "raspberry-pi-5"),
        (machine_named, "a6000", "rtx-a6000"),
        (link_named, "5g-mm-wave", "5g-mmwave"),
        (link_named, "ethernet", "ethernet-1g"),
        (machine_named, "Tesla T4", "t4"),
        (machine_named, "orin", "jetson-agx-orin"),
        (machine_named, "Raspberry Pi 4", "raspberry-pi-4"),
        (link_named, "Wi-Fi 6", "wifi-6"),
        (link_named, "802.11ac", "wifi-5"),
        (link_named, "4g", "lte"),
    ],
)
def test_unknown_names_get_near_ones(find: Callable[..., object], name: str, near: str) -> None:
    """A name that is nearly right is refused with the right one first."""
    with pytest.raises(UnknownPresetError, match=re.escape(f"{name!r}; did you mean {near!r}")):
        find(name)


@pytest.mark.parametrize("name", ["zzz", "", "\ud800", "x" * 10_000, "lte"])
def test_names_like_no_other_get_them_all(name: str) -> None:
    """A name like no machine's, a link's among them, is refused with the names that there are."""
    with pytest.raises(UnknownPresetError) as raised:
        machine_named(name, loc=("device", "preset"))
    assert isinstance(raised.value, KerfError)
    assert raised.value.loc == ("device", "preset")
    for machine in (*all_presets().devices, *all_presets().servers):
        assert machine.name in raised.value.detail
    assert len(raised.value.detail) < 1000


def test_machine_is_no_link() -> None:
    """A machine's name is no link's."""
    with pytest.raises(UnknownPresetError, match="no preset of a link named 'a100'; there are 3g"):
        link_named("a100")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "tkdnn"', 'source = "tkdmn"', "there is no source 'tkdmn'"),
        ('workload = "vgg-19"', 'workload = "vgg-20"', "there is no workload 'vgg-20'"),
        ('source = "ofcom-2015"\n', "", "source"),
        ("round_trip_s = 0.0635", "round_trip_s = -1", "greater than 0"),
        ("round_trip_s = 0.0635", "round_trip = 0.0635", "round_trip"),
        ("uplink_bits_per_s = 1.6e6", 'uplink_bits_per_s = "1.6e6"', "valid number"),
        ("samples_per_s = 9.45", "samples_per_s = 9.45, seconds_per_sample = 1", "state samples"),
        ("samples_per_s = 9.45", "samples_per_s = 945", "ran faster than the peak"),
        ("peak_flops_per_s = 1.33e12", "peak_flops_per_s = 2.66e12", "the arithmetic gives 1.331e"),
        ('name = "t4"', 'name = "a100"', "names that stand twice: a100"),
        ('name = "t4"', 'name = "T4 GPU"', "pattern"),
        ('date = "2018-10-12"', 'date = "12 October 2018"', "pattern"),
        (
            'precision = "tf32"\nnote',
            'precision = "float32"\nnote',
            "has no measured peak in float32",
        ),
    ],
)
def test_mistakes_in_the_file_are_refused(old: str, new: str, message: str) -> None:
    """A row that is not there, a missing source, a wrong unit, sign or name, a peak that is not its
    arithmetic, an efficiency above 1: each is refused with what is wrong."""
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        read_presets(TEXT.replace(old, new))
