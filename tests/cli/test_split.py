"""`kerf split`: against a service and without one, with the same answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.profile_example import PROFILE_REQUEST
from app.api.schemas import SplitIn
from app.cli import faults
from app.cli.local import LocalFile, LocalModel
from app.client import Client
from app.demo.demo import DEMO_MODEL
from tests.api.measuring import created
from tests.cli.running import RATES, cells, kerf, rows
from tests.fixture_models import BY_NAME, QUIRKY_FIXTURES, Fixture
from tests.halves.weighted_models import BY_NAME as WEIGHTED
from tests.server import Server, scenario, split

OF_THE_MOMENT = ("id", "created_at", "solve_s")

EVERY_OPTION = (
    *("--device", "5G", "--server", "5T", "--uplink", "20M", "--downlink", "100M"),
    *("--rtt", "10ms", "--memory", "1GiB", "--mode", "training", "--batch-size", "32"),
    *("--local-iterations", "10", "--backward-ratio", "1.5", "--optimizer-states", "2"),
    *("--objective", "delay", "--compute-power", "10", "--transmit-power", "1.2"),
    *("--receive-power", "900mW", "--pin-device", "node_Conv_810", "--pin-server", "node_linear"),
    *("--keep-inputs", "--method", "auto", "--no-store", "--current-tensor", "getitem_60"),
    *("--switching", "5", "--horizon", "100", "--link-preset", "lte", "--smashed-dtype", "float16"),
)
"""Each option once, but for the other ways to name the current cut and the machines."""
EVERY_FIELD = {
    "device": {
        "flops_per_s": 5e9,
        "memory_bytes": 1073741824.0,
        "compute_w": 10.0,
        "transmit_w": 1.2,
        "receive_w": 0.9,
    },
    "server": {"flops_per_s": 5e12},
    "link": {
        "uplink_bits_per_s": 2e7,
        "downlink_bits_per_s": 1e8,
        "round_trip_s": 0.01,
        "preset": "lte",
        "smashed_dtype": "float16",
    },
    "mode": "training",
    "batch_size": 32,
    "local_iterations": 10,
    "backward_ratio": 1.5,
    "optimizer_states": 2,
    "objective": "delay",
    "constraints": {
        "pin_device": ["node_Conv_810"],
        "pin_server": ["node_linear"],
        "keep_inputs_on_device": True,
    },
    "method": "auto",
    "store": False,
    "current_cut": ["getitem_60"],
    "switching_s": 5.0,
    "horizon_rounds": 100,
}


def timeless(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is of the moment."""
    return {name: value for name, value in answer.items() if name not in OF_THE_MOMENT}


def test_options_make_the_body(server: Server, demo_model: dict[str, Any]) -> None:
    """Every option arrives in its field: the answer is that of the body written out, from a service
    and from the file alike."""
    model_id = demo_model["id"]
    right = timeless(split(server.client(), {"model_id": model_id, **EVERY_FIELD}))
    asked = kerf("split", model_id, *EVERY_OPTION, "--json", url=server.url)
    assert timeless(asked.result) == right
    assert timeless(kerf("split", DEMO_MODEL, *EVERY_OPTION, "--json").result) == right


def test_a_body_may_come_from_a_file_or_standard_input(
    server: Server, demo_model: dict[str, Any], tmp_path: Path
) -> None:
    """--request takes a body, in which options replace fields and MODEL the model's id."""
    path = tmp_path / "body.json"
    path.write_text(json.dumps({"model_id": "another", **EVERY_FIELD}))
    right = timeless(split(server.client(), {"model_id": demo_model["id"], **EVERY_FIELD}))
    for source, stdin in ((path, None), ("-", path.read_text())):
        for model, url in ((demo_model["id"], server.url), (DEMO_MODEL, "")):
            done = kerf("split", model, "--request", source, "--json", url=url, stdin=stdin)
            assert timeless(done.result) == right
    changed = {**EVERY_FIELD, "link": {**EVERY_FIELD["link"], "uplink_bits_per_s": 1e6}}  # type: ignore[dict-item]
    done = kerf("split", DEMO_MODEL, "--request", path, "--uplink", "1M", "--json")
    assert timeless(done.result) == timeless(
        split(server.client(), {"model_id": demo_model["id"], **changed})
    )


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "a body is a JSON object"),
        (b'{"speed": 1}', "body.device: Field required"),
        (b'{"device": 5}', "body.device: Input should be an object"),
    ],
)
def test_a_bad_request_file_is_told(tmp_path: Path, content: bytes, detail: str) -> None:
    """What is no body is refused before anything is asked or read."""
    path = tmp_path / "body.json"
    path.write_bytes(content)
    done = kerf("split", "nowhere.onnx", "--request", path, "--json")
    assert done.status == faults.BAD_INPUT
    assert done.problem["title"] == "The request is not valid"
    assert detail in done.problem["detail"]


def test_the_table_says_what_the_answer_says(server: Server, demo_model: dict[str, Any]) -> None:
    """People see where the cut lies, what crosses, where the time goes and how long that holds; a
    stored result with its id, a local one as not stored."""
    arguments = (*RATES, "--mode", "inference", "--rtt", "10ms")
    done = kerf("split", demo_model["id"], *arguments, url=server.url)
    table = rows(done.stdout)
    answer = server.client().get(f"/splits/{table[0][1]}").json()
    told = cells(done.stdout)
    assert (answer["cut"]["device_nodes"], answer["cut"]["server_nodes"]) == (38, 62)
    assert told["nodes, device | server"].replace("│", "|") == "38 | 62"
    assert told["cut tensors"] == "getitem_60"
    assert told["total"] == "79.73 ms"
    assert told["uplink"] == "from 6.482 Mbit/s to 33.53 Mbit/s"
    assert told["server"] == "from 8.624 GFLOP/s"
    assert told["proved optimal"] == "yes"
    assert done.stderr == ""
    local = rows(kerf("split", DEMO_MODEL, *arguments).stdout)
    assert local[0][1] == "not stored"
    of_the_moment = ("", "found in")
    assert [row for row in local if row[0] not in of_the_moment] == [
        row for row in table if row[0] not in of_the_moment
    ]


def test_certificates_and_decisions_are_shown() -> None:
    """What only some methods and questions have is shown where there is some."""
    general = kerf("split", DEMO_MODEL, *RATES, "--method", "general", "--mode", "inference")
    told = cells(general.stdout)
    cut_value, flow_value = map(float, told["certificate, cut and flow"].split(", "))
    assert cut_value == pytest.approx(flow_value, rel=1e-9)
    assert "uplink" in told
    given = ("--current-on-device", "--switching", "5s", "--mode", "inference")
    stay = cells(kerf("split", DEMO_MODEL, *RATES, *given).stdout)
    assert stay["decision"] == "stay"
    assert stay["nodes, device | server"] == "all on device"
    assert "ms" in stay["gain per round"]
    assert float(stay["a better cut saves at most"]) > 0
    power = ("--objective", "energy", "--compute-power", "10", "--transmit-power", "1.2")
    energy = kerf("split", DEMO_MODEL, *RATES, *power, "--receive-power", "0.9")
    assert float(cells(energy.stdout)["objective value"]) > 0


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ((), {"device": {}, "server": {}, "link": {}}),
        (("--device", "0"), {"device": {"flops_per_s": 0.0}, "server": {}, "link": {}}),
        ((*RATES, "--device", "1e400"), scenario("", device={"flops_per_s": float("inf")})),
        ((*RATES, "--mode", "dreaming"), scenario("", mode="dreaming")),
        ((*RATES, "--objective", "throughput"), scenario("", objective="throughput")),
        ((*RATES, "--objective", "energy"), scenario("", objective="energy")),
        ((*RATES, "--horizon", "2"), scenario("", horizon_rounds=2)),
        ((*RATES, "--batch-size", "-1"), scenario("", batch_size=-1)),
        (
            (*RATES, "--memory", "1", "--keep-inputs"),
            scenario(
                "",
                device={"flops_per_s": 5e9, "memory_bytes": 1.0},
                constraints={"keep_inputs_on_device": True},
            ),
        ),
        (
            (*RATES, "--device-preset", "jetson-tx2"),
            scenario("", device={"flops_per_s": 5e9, "preset": "jetson-tx2"}),
        ),
        (
            (*RATES[2:], "--device-preset", "jetson-tx3"),
            scenario("", device={"preset": "jetson-tx3"}),
        ),
        (
            (*RATES, "--link-preset", "lte", "--smashed-dtype", "int4"),
            scenario(
                "",
                link={
                    "uplink_bits_per_s": 2e7,
                    "downlink_bits_per_s": 1e8,
                    "preset": "lte",
                    "smashed_dtype": "int4",
                },
            ),
        ),
        ((*RATES, "--pin-device", "x"), scenario("", constraints={"pin_device": ["x"]})),
        (
            (*RATES, "--pin-device", "node_linear", "--pin-server", "node_Conv_810"),
            scenario(
                "",
                constraints={"pin_device": ["node_linear"], "pin_server": ["node_Conv_810"]},
            ),
        ),
        ((*RATES, "--current-tensor", "x"), scenario("", current_cut=["x"])),
        (
            (*RATES, "--method", "general", "--memory", "8G"),
            scenario("", method="general", device={"flops_per_s": 5e9, "memory_bytes": 8e9}),
        ),
        (
            (*RATES, "--uplink", "1e-310"),
            scenario("", link={"uplink_bits_per_s": 1e-310, "downlink_bits_per_s": 1e8}),
        ),
    ],
)
def test_problems_are_those_of_the_api(
    server: Server, demo_model: dict[str, Any], arguments: tuple[str, ...], body: dict[str, Any]
) -> None:
    """What the API refuses, the command refuses with the same problem, whether it asks a service or
    reads a file; for people in a line with the title and the detail."""
    content = json.dumps({**body, "model_id": demo_model["id"]})
    headers = {"Content-Type": "application/json"}
    answer = server.client().post("/split", content=content, headers=headers).json()
    status = faults.NO if answer["type"] == "infeasible" else faults.BAD_INPUT
    for model, url in ((demo_model["id"], server.url), (DEMO_MODEL, "")):
        done = kerf("split", model, *arguments, "--json", url=url)
        assert done.status == status
        assert done.problem == answer
        told = kerf("split", model, *arguments, url=url)
        assert (told.status, told.stdout) == (status, "")
        assert told.stderr.startswith(f"{answer['title']}: {answer['detail']}\n")


def test_options_at_fault_are_named() -> None:
    """Beside the API's name of a field stands the option that fills it in."""
    done = kerf("split", DEMO_MODEL, "--device", "5G", "--uplink", "-1")
    assert done.stderr.splitlines()[1:] == [
        "  --server: Field required, or profile_id, or preset",
        "  --uplink: Input should be greater than 0",
    ]
    done = kerf("split", DEMO_MODEL, *RATES, "--device-preset", "t4")
    assert done.stderr.splitlines()[1:] == ["  see --device-preset"]
    done = kerf("split", DEMO_MODEL, *RATES, "--pin-server", "nothing")
    assert done.stderr.splitlines()[1:] == ["  see --pin-server"]


def test_presets_stand_for_figures(server: Server, demo_model: dict[str, Any]) -> None:
    """Machines and a link by the names of their presets, with a figure that is given beside it,
    arrive in the fields: the answer is that of the body written out, from a service and a file."""
    named = ("--device-preset", "jetson-tx2", "--server-preset", "a100", "--link-preset", "lte")
    body = scenario(
        demo_model["id"],
        device={"preset": "jetson-tx2"},
        server={"preset": "a100"},
        link={"preset": "lte", "round_trip_s": 0.2},
    )
    right = timeless(split(server.client(), body))
    for model, url in ((demo_model["id"], server.url), (DEMO_MODEL, "")):
        done = kerf("split", model, *named, "--rtt", "200ms", "--json", url=url)
        assert timeless(done.result) == right


def test_profiles_are_named_to_services_only(server: Server, demo_model: dict[str, Any]) -> None:
    """Profiles stand for either side where a service knows them, and people see what was used of
    them; elsewhere they are refused, with the option that named one."""
    profile_id = created(server.client(), PROFILE_REQUEST)
    named = ("--device-profile", profile_id, "--server-profile", profile_id, *RATES[4:])
    machine = {"profile_id": profile_id}
    body = scenario(demo_model["id"], device=machine, server=machine)
    del body["link"]["round_trip_s"]
    asked = kerf("split", demo_model["id"], *named, "--json", url=server.url)
    assert timeless(asked.result) == timeless(split(server.client(), body))
    told = cells(kerf("split", demo_model["id"], *named, url=server.url).stdout)
    assert told["profile of the device"].endswith("one thread: measured seconds of each node")
    assert told["server"] == "-"
    for side in ("device", "server"):
        alone = (f"--{side}-profile", profile_id, *RATES[4:])
        other = ("--server", "5T") if side == "device" else ("--device", "5G")
        done = kerf("split", DEMO_MODEL, *alone, *other, "--json")
        assert (done.status, done.problem["type"]) == (faults.BAD_INPUT, "not-found")
        assert done.problem["errors"][0]["loc"] == ["body", side, "profile_id"]
        told_of = kerf("split", DEMO_MODEL, *alone, *other).stderr
        assert told_of.splitlines()[-1] == f"  see --{side}-profile"


def test_sensitivity_is_added_where_it_is_asked_for(
    server: Server, demo_model: dict[str, Any]
) -> None:
    """With --sensitivity the losses are in the answer, the same from a service and from a file, and
    in the table for people."""
    given = (*RATES, "--mode", "inference", "--sensitivity")
    asked = kerf("split", demo_model["id"], *given, "--json", url=server.url).result
    assert timeless(kerf("split", DEMO_MODEL, *given, "--json").result) == timeless(asked)
    assert asked["sensitivity"]["device_flops_per_s"]["50"] > 0
    told = cells(kerf("split", DEMO_MODEL, *given).stdout)
    assert "loses, if off by 10 % / 25 % / 50 %" in told
    losses = asked["sensitivity"]["bandwidth"].values()
    shown = told["uplink and downlink"].split(" / ")
    assert shown == [f"{loss:.2%}" if loss else "nothing" for loss in losses]
    assert "sensitivity" not in kerf("split", DEMO_MODEL, *RATES, "--json").result


def test_splits_are_named_to_services_only(server: Server, demo_model: dict[str, Any]) -> None:
    """A split's id names the current cut where a service knows it, and is refused elsewhere."""
    stored = kerf("split", demo_model["id"], *RATES, "--json", url=server.url).result["id"]
    given = (*RATES, "--uplink", "1M", "--current-split", stored)
    asked = kerf("split", demo_model["id"], *given, "--json", url=server.url)
    assert asked.result["switching"]["decision"] in ("stay", "move")
    done = kerf("split", DEMO_MODEL, *given, "--json")
    assert done.status == faults.BAD_INPUT
    assert done.problem["type"] == "unknown-cut"
    assert "name the current cut by its cut tensors" in done.problem["detail"]


def test_a_file_is_told_from_an_id(server: Server, tmp_path: Path) -> None:
    """What is a file's name is read here, though it is missing; anything else is a model's id."""
    for name in ("missing.onnx", "some/where"):
        done = kerf("split", name, *RATES, "--json", url=server.url)
        assert done.status == faults.MACHINE
        assert done.problem["detail"].startswith(f"{name}: ")
    done = kerf("split", "missing", *RATES, "--json", url=server.url)
    assert (done.status, done.problem["type"]) == (faults.REFUSED, "not-found")


QUIRKY = {fixture.name: fixture for fixture in QUIRKY_FIXTURES}
MODELS = (
    *(BY_NAME[name] for name in ("mobilenet_v2", "resnet50", "segformer_b0", "bert_base")),
    *(QUIRKY[name] for name in ("torch/lenet_training", "quantised/lenet_qdq")),
    *(QUIRKY[name] for name in ("control_flow/nested", "torch/functions")),
)
"""With parameters among the inputs, with weights inside, with bodies and with functions, too."""
WATTS = {"compute_w": 10.0, "transmit_w": 1.2, "receive_w": 0.9}


def scenarios(names: list[str]) -> Iterator[dict[str, Any]]:
    """Bodies without a model: modes, objectives, limits, pins, methods, speeds and links."""
    links = ((1e9, 1e9, 0.001), (2e7, 1e8, 0.02), (1e5, 5e5, 0.1))
    for up, down, trip in links:
        link = {"uplink_bits_per_s": up, "downlink_bits_per_s": down, "round_trip_s": trip}
        yield scenario("", link=link, mode="inference")
        yield scenario("", link=link, batch_size=7, local_iterations=3)
    for method in ("table", "blockwise", "general"):
        yield scenario("", method=method, backward_ratio=1.7)
    for dtype in ("float16", "int8"):
        yield scenario("", link={"preset": "lte", "smashed_dtype": dtype}, mode="inference")
    yield scenario("", device={"flops_per_s": 5e9, **WATTS}, objective="energy")
    yield scenario("", device={"flops_per_s": 5e9, **WATTS}, objective="energy", mode="inference")
    yield scenario("", device={"flops_per_s": 5e13}, mode="inference")
    yield scenario("", device={"flops_per_s": 5e9, "memory_bytes": 3e7}, optimizer_states=1)
    keeps = {"keep_inputs_on_device": True}
    yield scenario("", constraints=keeps, device={"flops_per_s": 5e9, "memory_bytes": 1.0})
    yield scenario("", constraints=keeps)
    yield scenario("", constraints={"pin_device": [names[len(names) // 3]]}, mode="inference")
    yield scenario("", constraints={"pin_server": [names[len(names) // 2]]})
    yield scenario("", constraints={"pin_device": [names[-1]], "pin_server": [names[0]]})
    yield scenario("", constraints={"pin_device": ["no such node"]})
    yield scenario("", current_cut=[], switching_s=0.5, horizon_rounds=3)
    yield scenario("", current_cut=[], mode="inference")


@pytest.mark.parametrize("fixture", MODELS, ids=str)
def test_without_a_service_the_answer_is_the_same(server: Server, fixture: Fixture) -> None:
    """Over models, links, modes, objectives, methods, limits and constraints, what is computed from
    the file here is what the service answers that was sent the file without its weights, digit for
    digit, refusals included; only the id, the moment and the time that it took are others."""
    dims, parameters = dict(fixture.dims), fixture.parameters
    with Client(server.url) as kerf_client:
        sent = kerf_client.upload(fixture.path, dims=dims, parameters=parameters)
    client, summary = server.client(), sent.model.model_dump()
    local = LocalFile(fixture.path, dims, None, parameters).read()
    assert list(local.prepared.dag.node_names) == [
        node["name"] for node in client.get(f"/models/{summary['id']}/graph").json()["nodes"]
    ]
    refusals = 0
    for body in scenarios(list(local.prepared.dag.node_names)):
        asked = {**body, "model_id": summary["id"]}
        response = client.post("/split", json=asked, params={"include": "nodes"})
        mine = _answered(local, asked)
        if response.status_code != 200:
            refusals += 1
            assert mine == response.json(), body
            continue
        assert mine == timeless(response.json()), body
    assert 2 <= refusals <= 4


def _answered(local: LocalModel, body: dict[str, Any]) -> dict[str, Any]:
    """What `kerf split` prints, the answer or the problem."""
    try:
        answer = local.answer(SplitIn.model_validate_json(json.dumps(body)), include_nodes=True)
    except Exception as error:  # noqa: BLE001 - as the command does
        return faults.fault_of(error).as_json()
    return timeless(answer.model_dump(mode="json", exclude_unset=True))


def test_the_id_is_that_of_kerf_upload(server: Server, tmp_path: Path) -> None:
    """The answer for a file names the id that `kerf upload` gives the model, with its options; of a
    file that was sent with its weights all but that id is the same."""
    path = WEIGHTED["residual"].write(tmp_path)
    for options in ((), ("--model-batch", "3")):
        local = kerf("split", path, *options, *RATES, "--json").result
        for extra in ((), ("--send-weights",)):
            sent = kerf("upload", path, *options, *extra, "--json", url=server.url).result
            asked = kerf("split", sent["id"], *RATES, "--json", url=server.url).result
            assert (local["model_id"] == sent["id"]) is not bool(extra)
            assert {**timeless(asked), "model_id": 0} == {**timeless(local), "model_id": 0}


def test_nodes_are_added_where_they_are_asked_for(
    server: Server, demo_model: dict[str, Any]
) -> None:
    """With --include-nodes the names of both sides are in the answer, as the API gives them; a
    local answer carries beside them what cutting has to know of the model."""
    given = (*RATES, "--include-nodes", "--json")
    asked = kerf("split", demo_model["id"], *given, url=server.url).result
    local = kerf("split", DEMO_MODEL, *given).result
    facts = local.pop("model")
    assert timeless(local) == timeless(asked)
    assert len(asked["nodes"]["device"]) == asked["cut"]["device_nodes"]
    summary = {name: demo_model[name] for name in facts}
    assert facts == summary
    assert set(facts) == {"graph_sha256", "bound_dims", "model_batch", "parameters"}
    told = cells(kerf("split", DEMO_MODEL, *RATES, "--include-nodes").stdout)
    assert told["nodes on the device"].startswith(", ".join(local["nodes"]["device"][:5]))
    assert told["nodes on the server"].endswith(f" and {len(local['nodes']['server']) - 5} more")
    bare = kerf("split", DEMO_MODEL, *RATES, "--json").result
    assert not {"nodes", "model"} & set(bare)


def test_nothing_is_asked_where_a_file_is_split() -> None:
    """A local split needs no service: an address at which nothing listens does not matter."""
    assert kerf("split", DEMO_MODEL, *RATES, "--json", "--url", "http://127.0.0.1:9").status == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:9")
