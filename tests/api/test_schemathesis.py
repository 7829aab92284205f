"""Every operation of the OpenAPI document, with requests that Schemathesis makes up from it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import databases
from tests.keys import client_with, made_key
from tests.server import DEMO_BYTES, scenario, serving, split, uploaded

EXAMPLES = int(os.environ.get("KERF_TEST_SCHEMATHESIS", "15"))
"""Per operation and phase; `make soak` asks for more."""
CONFIG = Path(__file__).with_name("schemathesis.toml")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance,negative_data_rejection"
)


@pytest.fixture(params=["off", "keys"])
def auth(request: pytest.FixtureRequest) -> str:
    """Whether the service asks for keys."""
    auth: str = request.param
    return auth


def test_the_document_is_true(tmp_path: Path, kind: databases.Kind, auth: str) -> None:
    """Whatever is sent to any operation, well-formed or not: no server error, no status, header or
    body that the document does not declare, and nothing malformed is accepted."""
    with serving(tmp_path / "data", auth=auth) as server:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)),
            "run",
            *(f"{server.url}/openapi.json", "--checks", CHECKS, "--no-color"),
            *("--max-examples", str(EXAMPLES), "--seed", "1", "--workers", "1"),
            *("--generation-database", "none", "--request-timeout", "30"),
            *("--phases", "examples,coverage,fuzzing"),
        ]
        client = server.client()
        if auth == "keys":
            key = made_key(tmp_path / "data")
            client = client_with(server.url, key)
            command += ["--header", f"Authorization: Bearer {key.text}"]
        with client:
            split(client, scenario(uploaded(client, DEMO_BYTES)["id"]))
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert httpx.get(f"{server.url}/healthz").status_code == 200
