"""What ``make demo`` shows: one model, three links, both modes."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

DEMO_MODEL = Path(__file__).parent / "mobilenet_v2.onnx"
"""MobileNetV2 at 224x224, graph only (``tests/fixtures/README.md`` tells how it was made)."""

LINKS = {
    "good (1 Gbit/s)": {
        "uplink_bits_per_s": 1e9,
        "downlink_bits_per_s": 1e9,
        "round_trip_s": 0.001,
    },
    "normal (20/100 Mbit/s)": {
        "uplink_bits_per_s": 2e7,
        "downlink_bits_per_s": 1e8,
        "round_trip_s": 0.02,
    },
    "poor (1/5 Mbit/s)": {
        "uplink_bits_per_s": 1e6,
        "downlink_bits_per_s": 5e6,
        "round_trip_s": 0.1,
    },
}
DEVICE_FLOPS_PER_S = 5e9
SERVER_FLOPS_PER_S = 5e12
MODES: dict[str, dict[str, object]] = {
    "inference": {"mode": "inference", "batch_size": 1},
    "training": {"mode": "training", "batch_size": 32, "local_iterations": 10},
}


def run_demo(url: str | None) -> None:
    """Run the demo against a service, or one of its own, and print the answers."""
    console = Console(width=110)
    with _service(url) as base_url, httpx.Client(base_url=base_url, timeout=60) as client:
        model = _upload(client)
        console.print(
            f"{model['name']}: {model['nodes']} nodes in {model['blocks']} blocks, "
            f"{model['flops'] / 1e9:.2f} GFLOPs, {model['parameter_bytes'] / 1e6:.1f} MB of "
            f"parameters, id {model['id']}"
        )
        console.print(
            f"device {DEVICE_FLOPS_PER_S:.0e} FLOPS, server {SERVER_FLOPS_PER_S:.0e} FLOPS"
        )
        for title, mode in MODES.items():
            answers = {
                link: _split(client, model["id"], mode, rates) for link, rates in LINKS.items()
            }
            console.print(_table(title, answers))


def _upload(client: httpx.Client) -> dict[str, Any]:
    with DEMO_MODEL.open("rb") as file:
        response = client.post("/models", files={"file": (DEMO_MODEL.name, file)})
    response.raise_for_status()
    model: dict[str, Any] = response.json()
    return model


def _split(
    client: httpx.Client, model_id: str, mode: dict[str, object], link: dict[str, float]
) -> dict[str, Any]:
    response = client.post(
        "/split",
        json={
            "model_id": model_id,
            "device": {"flops_per_s": DEVICE_FLOPS_PER_S},
            "server": {"flops_per_s": SERVER_FLOPS_PER_S},
            "link": link,
            **mode,
        },
    )
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def _table(title: str, answers: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for link in answers:
        table.add_column(link, justify="right")
    for label, show in _ROWS.items():
        table.add_row(label, *(show(answer) for answer in answers.values()))
    return table


def _where(answer: dict[str, Any]) -> str:
    cut = answer["cut"]
    if cut["server_nodes"] == 0:
        return "all on device"
    if cut["device_nodes"] == 0:
        return "all on server"
    return f"{cut['device_nodes']} | {cut['server_nodes']}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def _gain(answer: dict[str, Any], baseline: str) -> str:
    baseline_s = answer["baselines"][baseline]
    return f"{1 - answer['delay']['total_s'] / baseline_s:.1%}" if baseline_s else "-"


_ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "nodes, device | server": _where,
    "cut tensors": lambda a: ", ".join(t["name"] for t in a["cut"]["cut_tensors"]) or "-",
    "total": lambda a: _duration(a["delay"]["total_s"]),
    "  device compute": lambda a: _duration(a["delay"]["device_compute_s"]),
    "  server compute": lambda a: _duration(a["delay"]["server_compute_s"]),
    "  uplink": lambda a: _duration(a["delay"]["uplink_s"]),
    "  downlink": lambda a: _duration(a["delay"]["downlink_s"]),
    "  round trip": lambda a: _duration(a["delay"]["round_trip_s"]),
    "  model transfer": lambda a: _duration(a["delay"]["model_transfer_s"]),
    "saved against device only": lambda a: _gain(a, "device_only_s"),
    "saved against server only": lambda a: _gain(a, "server_only_s"),
    "proved optimal": lambda a: "yes" if a["optimal"] else "no",
    "found in": lambda a: _duration(a["solve_s"]),
}


@contextmanager
def _service(url: str | None) -> Iterator[str]:
    """The URL of the service given, or of one that lives as long as the block."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "KERF_DATA_DIR": directory, "KERF_LOG_LEVEL": "warning"}
        environment.pop("KERF_DATABASE_URL", None)
        port = free_port()
        process = subprocess.Popen(  # noqa: S603 - this very program, with fixed arguments
            [sys.executable, "-m", "app", "serve", "--port", str(port)], env=environment
        )
        try:
            base_url = f"http://127.0.0.1:{port}"
            wait_until_ready(base_url, process)
            yield base_url
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_ready(
    base_url: str, process: "subprocess.Popen[bytes]", timeout_s: float = 30
) -> None:
    """Return when the service answers ``/readyz``; raise when it ends or takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with status {process.returncode}")
        try:
            if httpx.get(f"{base_url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the service was not ready within {timeout_s:.0f} s")
