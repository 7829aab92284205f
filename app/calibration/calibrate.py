"""Seconds per node of a model, as ONNX Runtime takes them on the machine at hand."""

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from onnx import GraphProto

from app.calibration.attribution import groups_of
from app.calibration.calibration import Calibration, NodeTime
from app.calibration.execution import execute
from app.calibration.kernel_times import KernelTimes, Seconds
from app.calibration.labels import Labels, makers_in
from app.calibration.machine import describe_machine
from app.calibration.made_up import with_made_up_weights
from app.calibration.measuring import Progress
from app.calibration.overheads import measured_overheads
from app.calibration.sessions import Feeds
from app.calibration.sharing import scaled_to, shared_out
from app.core.dag import NO_PRODUCER, CostedDag
from app.errors import CannotRunError
from app.halves.feeds import seeded_feeds
from app.ingest import DissectedModel, IngestOptions, dissect_file
from app.ingest.notes import listed

DEFAULT_SECONDS = 10.0


def calibrate(
    path: Path,
    options: IngestOptions | None = None,
    *,
    threads: int,
    seconds: float = DEFAULT_SECONDS,
    on_progress: Progress | None = None,
    feeds: Feeds | None = None,
    seed: int = 0,
) -> Calibration:
    """Measure a model on this machine, run by ``threads`` threads.

    ``options``: as the model was uploaded with. Weights that the file lacks are made up. ``feeds``:
    a value for each input; made up from ``seed`` where None. ``seconds``: how long to run it once
    it is loaded; a slow model longer, as seven runs are the least. Raises ``IngestError``,
    ``CannotRunError``, ``MissingDataError``, ``DiskFullError`` and ``OSError``.
    """
    options = options or IngestOptions()
    with TemporaryDirectory(prefix="kerf-") as temporary:
        whole = with_made_up_weights(path, Path(temporary))
        with whole.open("rb") as file:
            model = dissect_file(file, options)
        values = seeded_feeds(whole, options.dims, seed) if feeds is None else feeds
        _require_runnable(model, path, values)
        labels = Labels(model.flat)
        executed = execute(
            model.flat,
            labels,
            whole,
            values,
            threads=threads,
            seconds=seconds,
            directory=Path(temporary),
            on_progress=on_progress,
        )
    overheads = measured_overheads(threads)
    runs = executed.measured
    whole_s = median(runs.whole)
    times = KernelTimes.of(runs.profiled, executed.optimised.node, overheads)
    p10, p90 = np.percentile(runs.whole, (10, 90)).tolist()
    return Calibration(
        machine=describe_machine(),
        threads=threads,
        model_batch=model.ingested.dag.model_batch,
        nodes=_node_times(model, labels, executed.optimised, times.usual, whole_s),
        whole_s=whole_s,
        spread=(p90 - p10) / whole_s,
        runs=len(runs.whole),
        run_overhead_s=max(0.0, median(runs.cold) - whole_s) if runs.cold else 0.0,
        profiled_runs=len(runs.profiled),
        agreement=(_fastest(times.cleared) + overheads.run_s) / min(runs.whole),
        raw_agreement=_fastest(times.told) / min(runs.whole),
        has_made_up_weights=whole != path,
    )


def _fastest(runs: Seconds) -> float:
    """Seconds of all kernels in the run that nothing else slowed down, or the least."""
    return float(runs.sum(axis=1).min())


def _require_runnable(model: DissectedModel, path: Path, feeds: Feeds) -> None:
    if model.ingested.dag.node_count == 0:
        raise CannotRunError(f"no node of {path} depends on an input: there is nothing to time")
    graph = model.flat.graph
    known = [value.name for value in graph.input]
    unknown = [name for name in feeds if name not in known]
    if unknown:
        raise CannotRunError(
            f"values are given for {listed(unknown)}, which the model has no input for; its inputs "
            f"are {listed(known)}"
        )
    defaults = {tensor.name for tensor in graph.initializer}
    defaults.update(sparse.values.name for sparse in graph.sparse_initializer)
    missing = [name for name in known if name not in feeds and name not in defaults]
    if missing:
        raise CannotRunError(f"no values are given for the model's inputs {listed(missing)}")


def _node_times(
    model: DissectedModel, labels: Labels, optimised: GraphProto, kernel_s: Seconds, whole_s: float
) -> tuple[NodeTime, ...]:
    """The nodes of the DAG with their shares of the kernels' seconds, scaled to the whole's."""
    dag = model.ingested.dag
    node_at = {
        makers_in(labels.of(name)).pop(): node
        for node, outputs in enumerate(model.node_outputs)
        for name in filter(None, outputs)
    }
    groups = [
        [node_at[place] for place in group]
        for group in groups_of(model.flat.graph, optimised, node_at.keys())
    ]
    shares_s = shared_out(kernel_s.tolist(), groups, dag.node_flops.tolist(), _output_bytes(dag))
    rows = zip(
        dag.node_names,
        dag.node_op_types,
        dag.node_flops.tolist(),
        scaled_to(whole_s, shares_s).tolist(),
        strict=True,
    )
    return tuple(NodeTime(*row) for row in rows)


def _output_bytes(dag: CostedDag) -> list[int]:
    """Bytes that each node makes."""
    made = dag.tensor_producers != NO_PRODUCER
    nbytes = np.bincount(
        dag.tensor_producers[made], dag.tensor_bytes[made], minlength=dag.node_count
    )
    return [int(count) for count in nbytes]
