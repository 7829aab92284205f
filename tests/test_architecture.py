"""The shape of the code: who imports whom, what importing does, what is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def python(script: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script with this interpreter in a directory."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, check=False
    )


def test_imports_go_one_way(capfd: pytest.CaptureFixture[str]) -> None:
    """The contracts in pyproject.toml hold: the core knows nobody, the service loads no onnx, and
    nobody imports main."""
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capfd.readouterr().out


WATCH = """
import os, sys, threading

seen = []
allowed = (os.devnull,)

def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not arguments[0].endswith(".pyc") and ".pyc." not in arguments[0]:
            if arguments[0] not in allowed:
                seen.append((event, arguments[0]))
    elif event in ("socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen"):
        seen.append((event, str(arguments[:1])))
    elif event == "os.mkdir" and "__pycache__" not in str(arguments[0]):
        seen.append((event, str(arguments[0])))

sys.addaudithook(audit)
"""


def test_importing_and_composing_touch_nothing(tmp_path: Path) -> None:
    """Importing the application and making one writes no file, makes no directory, opens no
    database and no connection, and starts no thread; starting it is what does."""
    script = f"""{WATCH}
import asyncio
from app.main import create_app
from app.settings import Settings

app = create_app(Settings(data_dir="somewhere"))
assert app.openapi()
assert seen == [], seen
assert threading.active_count() == 1

async def start():
    async with app.router.lifespan_context(app):
        pass

asyncio.run(start())
assert any(event == "sqlite3.connect" for event, _ in seen), seen
"""
    assert not list(tmp_path.iterdir())
    done = python(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["somewhere"]


def test_core_and_store_load_without_the_rest(tmp_path: Path) -> None:
    """Importing the whole core loads no web framework, database or onnx; importing the whole store
    loads no onnx and no web framework."""
    for package, foreign in (
        ("app.core", {"fastapi", "pydantic", "sqlalchemy", "onnx", "networkx", "httpx"}),
        ("app.store", {"fastapi", "onnx", "httpx", "networkx"}),
    ):
        script = f"""
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, {package!r} + "."):
    importlib.import_module(module.name)
found = {{name.partition(".")[0] for name in sys.modules}} & {foreign!r}
assert not found, found
"""
        done = python(script, tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), package


REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_locked_by_hash(name: str) -> None:
    """Every requirement is pinned to one version with the hashes of its files, and no index is
    named anywhere."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)", text, re.M)
    entries = re.split(r"\n(?=[^\s#])", re.sub(r"^\s*#.*\n", "", text, flags=re.M).strip())
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[\w.\-\[\],]+==[\w.!+]+( ;| \\|;)", entry), entry
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_tests_run_what_is_installed() -> None:
    """The development requirements hold every run-time requirement at the same version."""
    pins = [
        dict(re.findall(r"^([\w.\-]+)(?:\[[\w,]+\])?==(\S+)", (ROOT / name).read_text(), re.M))
        for name in REQUIREMENTS
    ]
    assert pins[0].items() <= pins[1].items()


def test_swagger_ui_is_served_from_here() -> None:
    """The files of the browser page are in the checkout, with their licence."""
    files = {path.name for path in (ROOT / "app" / "web" / "static" / "swagger-ui").iterdir()}
    assert {"swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"} <= files
