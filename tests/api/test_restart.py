"""A stopped or killed service loses nothing that it has answered for."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import DEMO_BYTES, chain, environment, listed, scenario, serving, split, uploaded


def _state(client: httpx.Client) -> dict[str, Any]:
    """All that the service tells of what it keeps."""
    models, splits = listed(client, "/models"), listed(client, "/splits")
    return {
        "models": models,
        "splits": splits,
        "graphs": [client.get(f"/models/{model['id']}/graph").json() for model in models],
        "nodes": [client.get(f"/splits/{item['id']}?include=nodes").json() for item in splits],
    }


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_restart_loses_nothing(tmp_path: Path, how: signal.Signals) -> None:
    """Models, graphs and results are the same after the process ended, politely or not, right
    after its last answer; and it goes on splitting the stored model as before."""
    with serving(tmp_path) as server:
        client = server.client()
        model = uploaded(client, DEMO_BYTES)
        deleted = uploaded(client, chain("a"))["id"]
        assert client.delete(f"/models/{deleted}").status_code == 204
        answers = [split(client, scenario(model["id"], batch_size=size)) for size in (1, 2, 3)]
        before = _state(client)
        last = split(client, scenario(model["id"], batch_size=4))
        assert server.end(how) == -how
        is_clean = "Application shutdown complete" in server.log_path.read_text()
        assert is_clean == (how is signal.SIGTERM)
        server.start()
        client = server.client()
        after = _state(client)
        assert after["splits"][0] == last
        assert after["splits"][1:] == before["splits"]
        assert after["nodes"][1:] == before["nodes"]
        assert after["models"] == before["models"]
        assert after["graphs"] == before["graphs"]
        again = split(client, scenario(model["id"], batch_size=1))
        assert again["cut"] == answers[0]["cut"]
        assert again["delay"] == answers[0]["delay"]


def test_kills_in_a_row_lose_nothing(tmp_path: Path) -> None:
    """Killed right after each answer, again and again, the service finds all of them afterwards."""
    kept = []
    with serving(tmp_path) as server:
        for i in range(3):
            client = server.client()
            model = uploaded(client, chain("a", "b"))
            if i % 2:
                kept.append(split(client, scenario(model["id"])))
            server.end(signal.SIGKILL)
            server.start()
            assert client is not server.client()
            assert httpx.get(f"{server.url}/models/{model['id']}").json() == model
        assert listed(server.client(), "/splits") == kept[::-1]


def test_stored_model_loads_without_onnx(tmp_path: Path) -> None:
    """A stored model is read back and split without onnx: no module of it is ever imported."""
    with serving(tmp_path) as server:
        model = uploaded(server.client(), DEMO_BYTES)
    script = f"""
import sys
from app.core.constraints import Constraints, forced_sides
from app.core.scenario import Link, Mode, Scenario, prices_of
from app.core.splitting.general import best_cut_by_flow
from app.core.splitting.network import build_network
from app.settings import Settings
from app.store import models
from app.store.database import Database

database = Database(Settings().effective_database_url)
with database.reading() as connection:
    dag = models.get_dag(connection, "default", {model["id"]!r})
scenario = Scenario(5e9, 5e12, Link(2e7, 1e8))
solution = best_cut_by_flow(
    dag,
    build_network(dag),
    prices_of(scenario, dag.model_batch),
    Mode.TRAINING,
    forced_sides(dag, Constraints()),
)
assert solution.certificate.proves_optimality
loaded = [name for name in sys.modules if name.partition(".")[0] == "onnx"]
assert not loaded, loaded
print(dag.node_count)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == model["nodes"]
