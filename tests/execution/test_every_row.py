"""Every row of a cut table, executed over a link: the outputs are those of the whole model."""

from dataclasses import astuple
from operator import ge
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.quantities import Quantities, cut_of
from app.core.scenario import Mode
from app.core.smashed import SmashedDtype
from app.errors import CannotRunError
from app.execution import Address, Execution, Half, Plan, RuntimeOptions, run_rounds
from app.execution.checking import check
from app.halves import Division, HalfFiles, cut_file
from app.halves.division import Side
from app.halves.runtime import LoadedModel
from tests.execution.sides import EXACT, Process, cut_at, dag_of, loaded, rows_of, serving
from tests.halves.weighted_models import BY_NAME, MODELS, WeightedModel

SHORT = Plan(rounds=2, warm_up_rounds=1)


def require_whole(path: Path, feeds: dict[str, Any], execution: Execution) -> None:
    """Have every output of the whole model come out of one side, bit for bit."""
    differences = check(path, feeds, execution)
    assert differences
    for item in differences:
        assert item.problem is None
        # Half precision is rounded where it crosses, and in the whole it is not.
        assert item.is_equal or (item.tolerance != 0 and item.is_within_tolerance), item


def require_sums(execution: Execution, plan: Plan) -> None:
    """Have as many rounds as were wanted, whose terms add up."""
    assert len(execution.rounds) == plan.rounds
    for delay in execution.rounds:
        total_s, *parts = astuple(delay)
        assert total_s > 0
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(total_s)


def require_sides(execution: Execution, files: HalfFiles) -> None:
    """Have time pass on the sides that ran something, and on these only."""
    for delay in execution.rounds:
        assert (delay.device_compute_s > 0) is (files.device is not None)
        assert (delay.server_compute_s > 0) is (files.server is not None)
        away_s = delay.uplink_s + delay.downlink_s + delay.round_trip_s
        assert (away_s > 0) is (files.server is not None)
        assert delay.model_transfer_s == 0
    assert (execution.device is None) is (files.device is None)
    assert (execution.server is None) is (files.server is None)
    assert (execution.pings_s == ()) is (files.server is None)


def test_every_row_of_a_convolutional_network_runs_on_two_processes(tmp_path: Path) -> None:
    """The server a process of its own: with the runtime's optimisations off, every output is that
    of the whole, bit for bit, and what crosses are the bytes that the table says."""
    model = BY_NAME["residual"]
    path = model.write(tmp_path)
    dag, feeds = dag_of(model, path), model.inputs(path)
    rows = rows_of(dag)
    kinds = set()
    for on_device in rows:
        files = cut_at(model, path, on_device, tmp_path / "halves", "split")
        kinds.add((files.device is not None, files.server is not None))
        execution = run_with_process(files, feeds)
        assert all(item.is_equal for item in check(path, feeds, execution))
        require_sums(execution, SHORT)
        require_sides(execution, files)
        require_bytes(model, execution, cut_of(dag, on_device, Mode.INFERENCE).quantities)
    assert kinds == {(True, True), (True, False), (False, True)}


def crossing(quantities: Quantities) -> tuple[int, int]:
    """Bytes up and down."""
    return quantities.uplink_bytes, quantities.result_bytes


def run_with_process(files: HalfFiles, feeds: dict[str, Any]) -> Execution:
    """Run halves, the server's in a process of its own if there is one."""
    device = loaded(files, Side.DEVICE, EXACT)
    if files.server is None:
        return run_rounds(device, None, feeds, SHORT)
    process = Process("tests.execution.serve", files.server.path, 0, "exact")
    try:
        port = int(process.wait_for(""))
        execution = run_rounds(device, Address("127.0.0.1", port), feeds, SHORT)
        process.wait_for("done after 3 rounds")
    finally:
        process.end()
    return execution


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_every_row_runs_with_smashed_data_in_another_type(
    dtype: SmashedDtype, tmp_path: Path
) -> None:
    """What crosses is what the table of that type says; what comes of it is near the whole's."""
    model = BY_NAME["residual"]
    path = model.write(tmp_path)
    dag, feeds = dag_of(model, path).smashed_as(dtype), model.inputs(path)
    names = np.array(dag.node_names, dtype=object)
    for on_device in rows_of(dag):
        division = Division(tuple(names[on_device]), tuple(names[~on_device]))
        target = tmp_path / "halves"
        files = cut_file(path, model.options, division, target, smashed_dtype=dtype)
        execution = run_here(files, loaded(files, Side.SERVER), feeds, SHORT, RuntimeOptions())
        assert execution.smashed_dtype == (None if files.server is None else dtype)
        require_bytes(model, execution, cut_of(dag, on_device, Mode.INFERENCE).quantities)
        for item in check(path, feeds, execution):
            assert item.is_within_tolerance
            assert item.largest_relative < LOSS[dtype]


LOSS: dict[SmashedDtype, float] = {"float16": 0.01, "int8": 0.1}
"""More than casts of numbers of one magnitude may lose."""


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_every_row_of_every_small_model_runs(model: WeightedModel, tmp_path: Path) -> None:
    """Whatever a model is made of: its rows run over a link and give what the whole gives, or the
    server says which of its results cannot be sent."""
    path = model.write(tmp_path)
    dag, feeds = dag_of(model, path), model.inputs(path)
    plan = Plan(rounds=1, warm_up_rounds=0, parameters=model.options.parameters)
    whole = LoadedModel(path, "the model", optimised=False)
    sendable = {name for name, kind in whole.outputs.items() if is_sendable(kind)}
    for on_device in rows_of(dag):
        files = cut_at(model, path, on_device, tmp_path / "halves")
        server = loaded(files, Side.SERVER, EXACT)
        if server is not None and not sendable.issuperset(server.outputs):
            with pytest.raises(CannotRunError, match="only tensors of numbers go over the link"):
                run_here(files, server, feeds, plan)
            continue
        execution = run_here(files, server, feeds, plan)
        require_sums(execution, plan)
        require_sides(execution, files)
        require_whole(path, feeds, execution)
        require_bytes(model, execution, cut_of(dag, on_device, Mode.INFERENCE).quantities)


def require_bytes(model: WeightedModel, execution: Execution, quantities: Quantities) -> None:
    """Have what crossed be what the cut says."""
    found, expected = (execution.sent_bytes, execution.received_bytes), crossing(quantities)
    if model.name in MORE_CROSSES:
        assert all(map(ge, found, expected))
    else:
        assert found == expected


MORE_CROSSES = {
    "how_many": "a result whose size only running tells",
    "unused_inputs": "a whole model on the server is fed all its inputs",
    "output_is_input": "a whole model on the server gives all its outputs",
    "output_is_weight": "a whole model on the server gives all its outputs",
}
"""Why more goes over the link than a row counts, by model."""


def is_sendable(kind: str) -> bool:
    """Whether values of a type, as ONNX Runtime calls it, go over the link."""
    return kind.startswith("tensor(") and kind != "tensor(string)"


def run_here(
    files: HalfFiles, server: Half | None, feeds: Any, plan: Plan, options: RuntimeOptions = EXACT
) -> Execution:
    """Run halves, the server's in a thread if there is one."""
    device = loaded(files, Side.DEVICE, options)
    if server is None:
        return run_rounds(device, None, feeds, plan)
    with serving(server) as served:
        return run_rounds(device, served.server.address, feeds, plan)
