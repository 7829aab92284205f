"""``kerf bench-link``: what the link carries."""

from typing import Annotated

import typer

from app.cli.connecting import connect
from app.cli.figures import shown
from app.cli.options import DEFAULT_URL, Json, Url
from app.cli.output import print_json, print_table, progress


def bench_link(
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=0.1, max=600.0)] = 3.0,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Measure the link between here and the service, as `kerf split` wants it."""

    with connect(url) as client, progress("measuring", unit="s") as report:
        measured = client.measure_link(seconds=seconds, on_progress=report)
    if json:
        print_json(measured.as_link())
        return
    rates = {
        "uplink": (measured.uplink_bits_per_s, measured.uplink_spread, "bit/s"),
        "downlink": (measured.downlink_bits_per_s, measured.downlink_spread, "bit/s"),
        "round trip": (measured.round_trip_s, measured.round_trip_spread, "s"),
    }
    rows = [
        (label, shown(median, unit), shown(spread.least, unit), shown(spread.most, unit))
        for label, (median, spread, unit) in rates.items()
    ]
    print_table(None, ["", "median", "least", "most"], rows)
