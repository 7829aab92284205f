"""`kerf cuts`: the table, and what each row costs."""

from typing import Any

import pytest

from app.cli import faults
from app.demo.demo import DEMO_MODEL
from tests.cli.running import RATES, kerf, rows
from tests.server import Server, scenario, split

INFERENCE = ("--mode", "inference")


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_the_table_is_that_of_the_api(
    server: Server, demo_model: dict[str, Any], mode: str
) -> None:
    """As JSON it is the API's own, from a service and from the file alike; for people a line for
    each row."""
    path = f"/models/{demo_model['id']}/cuts"
    table = server.client().get(path, params={"mode": mode}).json()
    asked = kerf("cuts", demo_model["id"], "--mode", mode, "--json", url=server.url)
    assert asked.result == table
    assert kerf("cuts", DEMO_MODEL, "--mode", mode, "--json").result == table
    shown = rows(kerf("cuts", demo_model["id"], "--mode", mode, url=server.url).stdout)
    assert [row[2] for row in shown[1:]] == [
        ", ".join(tensor["name"] for tensor in row["cut_tensors"]) or "-" for row in table["cuts"]
    ]
    assert rows(kerf("cuts", DEMO_MODEL, "--mode", mode).stdout) == shown


@pytest.mark.parametrize("source", ["service", "file"])
def test_rows_are_priced_here(server: Server, demo_model: dict[str, Any], source: str) -> None:
    """With a scenario each row has its delay, the best is marked, and that is the cut that the
    service answers, at the same price to the last digit."""
    model, url = (DEMO_MODEL, "") if source == "file" else (demo_model["id"], server.url)
    priced = kerf("cuts", model, *RATES, *INFERENCE, "--json", url=url).result
    client = server.client()
    answer = split(client, scenario(demo_model["id"], mode="inference", link=LINK))
    (best,) = (row for row in priced["cuts"] if row["is_best"])
    assert best["delay"] == answer["delay"]
    assert best["objective_value"] == answer["objective_value"]
    assert best["cut_tensors"] == answer["cut"]["cut_tensors"]
    assert best["objective_value"] == min(row["objective_value"] for row in priced["cuts"])
    for row in priced["cuts"]:
        for name in ("delay", "objective_value", "is_best"):
            del row[name]
    path = f"/models/{demo_model['id']}/cuts"
    assert priced == client.get(path, params={"mode": "inference"}).json()
    head, *lines = rows(kerf("cuts", model, *RATES, *INFERENCE, url=url).stdout)
    assert head[-2:] == ["total", ""]
    assert [line[-1] for line in lines].count("best") == 1
    assert [line[2] for line in lines if line[-1] == "best"] == ["getitem_60"]


LINK = {"uplink_bits_per_s": 2e7, "downlink_bits_per_s": 1e8}


def test_rows_that_do_not_fit_are_told() -> None:
    """Under a memory limit, rows beyond it have no price, and the best is among the others."""
    given = (*RATES, *INFERENCE, "--memory", "9MB")
    priced = kerf("cuts", DEMO_MODEL, *given, "--json").result["cuts"]
    assert [row["delay"] is None for row in priced] == [
        row["quantities"]["device_parameter_bytes"] + row["quantities"]["device_activation_bytes"]
        > 9e6
        for row in priced
    ]
    assert any(row["delay"] is None for row in priced)
    lines = rows(kerf("cuts", DEMO_MODEL, *given).stdout)[1:]
    assert [line[-1] == "does not fit" for line in lines] == [
        row["delay"] is None for row in priced
    ]
    assert sum(line[-1] == "best" for line in lines) == 1


def test_energy_is_priced_too() -> None:
    """For the energy objective each row shows joules beside seconds, and the best has the least."""
    power = ("--compute-power", "10", "--transmit-power", "1.2", "--receive-power", "0.9")
    given = (*RATES, *INFERENCE, "--objective", "energy", *power)
    priced = kerf("cuts", DEMO_MODEL, *given, "--json").result["cuts"]
    best = min(priced, key=lambda row: row["objective_value"])
    assert best["is_best"]
    head, *lines = rows(kerf("cuts", DEMO_MODEL, *given).stdout)
    assert head[-3:] == ["total", "energy", ""]
    assert all(line[-2].endswith("J") for line in lines)


def test_what_the_table_does_not_tell_is_refused(
    server: Server, demo_model: dict[str, Any]
) -> None:
    """A scenario that other cuts may be best for, one that is not complete and one without finite
    delays are refused, and nothing is printed."""
    for given, status, named in (
        ((*RATES, "--device", "50T"), faults.BAD_INPUT, "a device faster than the server"),
        ((*RATES, *INFERENCE, "--objective", "throughput"), faults.BAD_INPUT, "throughput"),
        (("--device", "5G"), faults.BAD_INPUT, "--server: Field required"),
        ((*RATES, "--uplink", "0"), faults.BAD_INPUT, "see --uplink"),
        ((*RATES, "--uplink", "1e-310"), faults.BAD_INPUT, "The delays are not finite"),
    ):
        done = kerf("cuts", demo_model["id"], *given, url=server.url)
        assert (done.status, done.stdout) == (status, ""), done
        assert named in done.stderr
    assert kerf("cuts", "nope", url=server.url).status == faults.REFUSED
