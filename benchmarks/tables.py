"""Building cut tables: rows and times per model, upload to ready, a DAG of 10,000 nodes."""

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from app.core.dag import NO_PRODUCER, CostedDag, Node, Parameter, Tensor
from app.core.errors import TooManyCutsError
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.cut_table import Family, build_table
from app.core.splitting.pricing import pricing_of
from app.core.splitting.solve import CutTables, best_rows
from app.ingest import ingest
from app.store.packing import pack_dag
from benchmarks.timing import once_s
from tests.fixture_models import FIXTURES, ingested


def run(console: Console) -> None:
    """Print rows and times of every family, and the throughput of batch pricing."""
    table = Table(title="Cut tables: rows (ms to build); upload to ready = ingest + first family")
    table.add_column("model")
    for column in ("nodes", "upload to ready", *Family):
        table.add_column(column, justify="right")
    for fixture in FIXTURES:
        data, dims = fixture.path.read_bytes(), dict(fixture.dims)

        def ready(data: bytes = data, dims: dict[str, int] = dims) -> None:
            dag = ingest(data, dims).dag
            build_table(dag, Family.SLOWER_DEVICE)
            pack_dag(dag)

        dag = ingested(fixture.name).dag
        cells = [f"{once_s(ready) * 1e3:.0f} ms"]
        for family in Family:
            try:
                rows = len(build_table(dag, family))
            except TooManyCutsError:
                cells.append("out of reach")
                continue
            seconds = once_s(lambda dag=dag, family=family: build_table(dag, family), 2)  # type: ignore[misc]
            cells.append(f"{rows} ({seconds * 1e3:.0f})")
        table.add_row(fixture.name, str(dag.node_count), *cells)
    console.print(table)
    _deep_network(console)
    _batch_pricing(console)


def deep_network(blocks: int = 1000) -> CostedDag:
    """A generated residual network of ten nodes per block: two branches and a skip."""
    nodes: list[Node] = []
    tensors: list[tuple[str, int, list[int], int]] = [("input", NO_PRODUCER, [], 600_000)]
    parameters: list[Parameter] = []

    def add(reads: list[int], nbytes: int, flops: int, weight: int) -> int:
        node = len(nodes)
        nodes.append(Node(f"n{node}", "Op", flops))
        for tensor in reads:
            tensors[tensor][2].append(node)
        if weight:
            parameters.append(Parameter(f"w{node}", weight, (node,)))
        tensors.append((f"t{node}", node, [], nbytes))
        return len(tensors) - 1

    stream = 0
    for block in range(blocks):
        width = 400_000 - 300 * block
        left = add([stream], width, 10**7, 40_000 + block)
        for _ in range(4):
            left = add([left], width, 10**6, 0)
        right = add([stream], width // 2, 10**7, 20_000 + block)
        for _ in range(2):
            right = add([right], width // 2, 10**6, 0)
        joined = add([left, right], width, 10**5, 0)
        stream = add([joined, stream], width, 10**5, 0)
    built = [
        Tensor(name, (), "float32", nbytes, producer, tuple(users), True, not users)
        for name, producer, users, nbytes in tensors
    ]
    return CostedDag.build(nodes, built, parameters)


def _deep_network(console: Console) -> None:
    dag = deep_network()
    started = time.perf_counter()
    rows = len(build_table(dag, Family.SLOWER_DEVICE))
    seconds = time.perf_counter() - started
    console.print(f"Generated network of {dag.node_count} nodes: {rows} rows in {seconds:.2f} s\n")


def _batch_pricing(console: Console) -> None:
    count = 10_000
    dag = ingested("light_inception_v2").dag
    tables = CutTables(dag)
    rng = np.random.default_rng(0)

    def spread(low: float, high: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return np.asarray(low * (high / low) ** rng.random(count))

    device = spread(1e8, 1e12)
    scenario = Scenario(
        device_flops_per_s=device,
        server_flops_per_s=device * spread(1, 1e4),
        link=Link(spread(1e5, 1e10), spread(1e5, 1e10), spread(1e-4, 1)),
        mode=Mode.TRAINING,
        batch_size=np.full(count, 32.0),
        local_iterations=np.full(count, 10.0),
        backward_ratio=np.full(count, 2.0),
    )

    def price() -> None:
        prices = prices_of(scenario, dag.model_batch)
        best_rows(tables, scenario, pricing_of(scenario, prices, dag.model_batch))

    seconds = once_s(price, 10)
    console.print(
        f"Batch pricing inside the core, Inception v2, {count} scenarios: "
        f"{count / seconds / 1e6:.1f} million scenarios/s on one core\n"
    )
