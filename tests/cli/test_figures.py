"""Figures, as they are read and shown."""

import pytest

from app.cli.figures import BITS_PER_S, BYTES, FLOPS, SECONDS, WATTS, Unit, figure_of, shown


@pytest.mark.parametrize(
    ("unit", "text", "figure"),
    [
        (FLOPS, "5e9", 5e9),
        (FLOPS, "5G", 5e9),
        (FLOPS, "1.33 TFLOPS", 1.33e12),
        (FLOPS, "0.1k", 100.0),
        (FLOPS, "5K", 5e3),
        (BITS_PER_S, "20Mbit/s", 2e7),
        (BITS_PER_S, "20 Mbps", 2e7),
        (BITS_PER_S, "2.3M", 2.3e6),
        (BYTES, "8GB", 8e9),
        (BYTES, "8GiB", 8.0 * 2**30),
        (BYTES, "1.5Ki", 1536.0),
        (SECONDS, "10ms", 0.01),
        (SECONDS, "10 us", 1e-5),
        (SECONDS, "10µs", 1e-5),
        (SECONDS, "0.3", 0.3),
        (SECONDS, "3s", 3.0),
        (WATTS, "900mW", 0.9),
        (WATTS, "900m", 0.9),
        (WATTS, "1.2", 1.2),
        (WATTS, "-1", -1.0),
    ],
)
def test_figures_mean_the_nearest_float(unit: Unit, text: str, figure: float) -> None:
    """A figure with a prefix is the float that the same number written out is, to the last
    digit."""
    assert figure_of(unit, "1")(text) == figure


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (FLOPS, "5m"),
        (FLOPS, "fast"),
        (FLOPS, ""),
        (FLOPS, "G"),
        (FLOPS, "5 G B"),
        (FLOPS, "nan"),
        (FLOPS, "inf"),
        (FLOPS, "0x10"),
        (FLOPS, "1_000"),
        (FLOPS, "1e99999"),
        (FLOPS, "٣"),
        (BITS_PER_S, "20MB/s"),
        (BYTES, "8g"),
        (BYTES, "8Gbit"),
        (SECONDS, "10m"),
        (SECONDS, "1ks"),
        (WATTS, "1e"),
    ],
)
def test_what_could_mean_something_else_is_refused(unit: Unit, text: str) -> None:
    """Text that is no number, units of something else, and prefixes that may be misread are
    refused, with the unit and an example."""
    with pytest.raises(ValueError, match=unit.metavar) as error:
        figure_of(unit, "7 of them")(text)
    assert repr(text) in str(error.value)
    assert "7 of them" in str(error.value)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "B", "0 B"),
        (1, "B", "1 B"),
        (50176, "B", "50.18 kB"),
        (999.96, "B", "1 kB"),
        (999_960, "B", "1 MB"),
        (0.5, "bit/s", "0.5 bit/s"),
        (5e9, "FLOP/s", "5 GFLOP/s"),
        (1e20, "FLOPs", "1e+05 PFLOPs"),
        (0.0797305, "s", "79.73 ms"),
        (3e-13, "s", "0.0003 ns"),
        (0.99999, "s", "1 s"),
        (7200, "s", "7200 s"),
        (0, "s", "0 s"),
        (0.025, "J", "25 mJ"),
    ],
)
def test_figures_are_shown_to_four_digits(value: float, unit: str, text: str) -> None:
    """A figure is shown with the prefix that leaves one to three digits before the point; seconds
    take none above one, bytes none below."""
    assert shown(value, unit) == text
