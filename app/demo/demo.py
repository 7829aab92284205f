"""What ``make demo`` shows: one model, three links, both modes."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.api.schemas import SplitOut
from app.cli.figures import shown
from app.cli.output import print_text
from app.cli.tables import print_answers
from app.client import Client, UnreachableError

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


def run_demo(url: str | None, api_key: str | None = None) -> None:
    """Run the demo against a service, or one of its own, and print the answers.

    Raises ``ClientError`` where the service does not answer, or refuses.
    """
    with _service(url) as base_url, Client(base_url, api_key=api_key, timeout_s=60) as client:
        # Its weights are left out already.
        model = client.upload(DEMO_MODEL, send_weights=True).model
        print_text(
            f"{model.name}: {model.nodes} nodes in {model.blocks} blocks, "
            f"{shown(model.flops, 'FLOPs')}, {shown(model.parameter_bytes, 'B')} of parameters, "
            f"id {model.id}"
        )
        print_text(
            f"device {shown(DEVICE_FLOPS_PER_S, 'FLOP/s')}, "
            f"server {shown(SERVER_FLOPS_PER_S, 'FLOP/s')}"
        )
        for title, mode in MODES.items():
            print_answers(title, {name: _split(client, model.id, mode, name) for name in LINKS})


def _split(client: Client, model_id: str, mode: dict[str, object], link: str) -> SplitOut:
    return client.split(
        {
            "model_id": model_id,
            "device": {"flops_per_s": DEVICE_FLOPS_PER_S},
            "server": {"flops_per_s": SERVER_FLOPS_PER_S},
            "link": LINKS[link],
            **mode,
        }
    )


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
    base_url: str,
    process: "subprocess.Popen[bytes]",
    timeout_s: float = 30,
    path: str = "/readyz",
) -> None:
    """Return when the service answers ``/readyz``, or another path, with 200.

    Raises ``UnreachableError`` when it ends, or takes too long.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UnreachableError(f"the service ended with status {process.returncode}", base_url)
        try:
            if httpx.get(f"{base_url}{path}", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise UnreachableError(f"the service was not ready within {timeout_s:.0f} s", base_url)
