"""``python -m benchmarks.regret.machine``: one side, told what to do line by line.

Each line is a JSON object; so is the answer. A side keeps the halves that it was told to load, so
that cuts can take turns round by round.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.client import Client
from app.demo.demo import free_port, wait_until_ready
from app.execution import Address, Half, HalfServer, Plan, RuntimeOptions, run_rounds
from app.halves.division import Side
from app.halves.feeds import load_feeds

ONE_THREAD = RuntimeOptions(threads=1)
_halves: dict[str, Half] = {}
_servers: list[HalfServer] = []
_services: list[subprocess.Popen[bytes]] = []


def load(paths: dict[str, str]) -> None:
    """Load device halves by a key of each."""
    for key, path in paths.items():
        _halves[key] = Half(Path(path), Side.DEVICE, ONE_THREAD)


def serve(paths: dict[str, str], host: str) -> dict[str, int]:
    """Serve server halves; the port of each."""
    ports = {}
    for key, path in paths.items():
        server = HalfServer(Half(Path(path), Side.SERVER, ONE_THREAD), host)
        _servers.append(server)
        threading.Thread(target=server.serve, daemon=True).start()
        ports[key] = server.address.port
    return ports


def serve_kerf(host: str, data_dir: str) -> int:
    """Start the service, to which the link can be measured; its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--host", host, "--port", str(port)],
        env={**os.environ, "KERF_DATA_DIR": data_dir},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _services.append(process)
    wait_until_ready(f"http://{host}:{port}", process)
    return port


def measure_link(port: int, seconds: float) -> dict[str, float]:
    """What ``kerf bench-link`` measures to a service."""
    with Client(f"http://127.0.0.1:{port}") as client:
        return client.measure_link(seconds=seconds).as_link()


def run(
    key: str | None, port: int | None, inputs: str, rounds: int, warm_up: int
) -> list[dict[str, Any]]:
    """Rounds of a cut, and the terms of each in seconds."""
    execution = run_rounds(
        None if key is None else _halves[key],
        None if port is None else Address("127.0.0.1", port),
        load_feeds(Path(inputs)),
        Plan(rounds, warm_up, retries=0, wait_s=60),
    )
    return [asdict(delay) for delay in execution.rounds]


def main() -> None:
    """Do what the lines say."""
    commands = {each.__name__: each for each in (load, serve, serve_kerf, measure_link, run)}
    print(json.dumps(None), flush=True)  # Ready.
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(commands[command.pop("do")](**command)), flush=True)
    for service in _services:
        service.terminate()
        service.wait()
    # Threads that serve halves may wait for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
