"""What using the client loads."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from app.client import AsyncClient, Client

with Client("http://127.0.0.1:1"):
    pass
heavy = {"fastapi", "numpy", "onnx", "onnxruntime", "ortools", "scipy", "sqlalchemy"}
found = {name.partition(".")[0] for name in sys.modules} & heavy
assert not found, found
"""


def test_the_client_is_cheap_to_import() -> None:
    """Importing the client, and making one, loads no solver, no ONNX, no database and no web
    framework."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
