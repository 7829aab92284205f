"""The README is true: its commands are run in order, and its tables are compared with the code."""

import ast
import inspect
import json
import math
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app import cli
from app.api.problems import _HTTP_KINDS, STATUS_AND_TITLE
from app.api.schemas import SplitIn
from app.demo.demo import free_port, wait_until_ready
from app.main import create_app
from app.settings import Settings
from tests.server import environment, scenario

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8000"
RUN, SHOWN = ("sh", "python"), ("json", "text")
OF_THE_MOMENT = ("created_at", "solve_s")
REST = "..."


@dataclass(frozen=True)
class Block:
    """A fenced block, the line it starts at, and the block after it that shows its output."""

    language: str
    text: str
    line: int
    shown: "Block | None" = None

    def __str__(self) -> str:
        return f"README.md:{self.line}"


def blocks() -> list[Block]:
    """The blocks to run, in order. A `json` or `text` block shows the output of the last one."""
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    found: list[Block] = []
    for fence in fences:
        block = Block(fence[1], fence[2], README[: fence.start()].count("\n") + 1)
        if block.language in RUN:
            found.append(block)
        else:
            assert block.language in SHOWN, f"{block}: a block of {block.language!r}"
            assert found, f"{block}: the output of nothing"
            assert found[-1].shown is None, f"{block}: a second output"
            found[-1] = Block(found[-1].language, found[-1].text, found[-1].line, block)
    return found


class Reader:
    """Somebody who follows the README: a directory, a shell, and the service that `make run`
    started, on a port of its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        curl, make, bash = (shutil.which(name) for name in ("curl", "make", "bash"))
        assert curl, "the README's examples need curl; install it (as root: apt-get install curl)"
        assert make, "the README's commands need make; install it (as root: apt-get install make)"
        assert bash, "the README's commands are run by bash; install it"
        self.directory, self.bash, self._make, self._stack = directory, bash, make, stack
        self.address = ""
        self.services = 0
        locked = ("requirements-dev.txt", "pyproject.toml")
        for name in ("app", "alembic", "tests", "Makefile", *locked):
            (directory / name).symlink_to(ROOT / name)
        # Of an environment whose interpreter is a link: `resolve` would lead out of it.
        (directory / ".venv").symlink_to(Path(sys.prefix).absolute())
        self._statuses = directory / "statuses"
        self._statuses.mkdir()
        programs = directory / "bin"
        programs.mkdir()
        wrapper = programs / "curl"
        wrapper.write_text(
            f"#!{bash}\nexec {shlex.quote(curl)} --max-time 60 "
            f'-D "$(mktemp {shlex.quote(str(self._statuses))}/XXXXXX)" "$@"\n'
        )
        wrapper.chmod(0o755)
        kept = environment(directory / "data")
        self.environment = {
            **{name: value for name, value in kept.items() if not name.startswith("MAKE")},
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
        }

    def follow(self, block: Block) -> str:
        """Run a block; its output. Every command must succeed, every request as the README says."""
        if block.language == "python":
            return self._done([sys.executable, "-c", self._here(block.text)], block)
        lines = [line for text in block.text.splitlines() for line in self._made(text)]
        if serving := [line for line in lines if " serve" in line and "kerf" in line]:
            assert lines == serving, f"{block}: a service, and something else"
            for line in serving:
                self._serve(line, block)
            return ""
        for path in self._statuses.iterdir():
            path.unlink()
        script = self._here("\n".join(lines))
        output = self._done([self.bash, "-euo", "pipefail", "-c", script], block)
        statuses = [self._status(path) for path in self._statuses.iterdir()]
        told = block.shown.text if block.shown else ""
        for status in statuses:
            assert 200 <= status < 300 or re.search(rf'^(  "status": )?{status}\b', told, re.M), (
                f"{block}: status {status}: {output}"
            )
        assert len(statuses) == block.text.count("curl "), block
        return output

    def targets_commands(self, target: str) -> list[str]:
        """The commands that `make TARGET` runs in an installed checkout."""
        done = subprocess.run(
            [self._make, "--dry-run", "--no-print-directory", "--old-file=install", target],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"make {target}: {done.stderr}"
        return done.stdout.splitlines()

    def _made(self, line: str) -> list[str]:
        """A line of a block, or what its `make` target runs."""
        words = line.split()
        return self.targets_commands(words[1]) if words[:1] == ["make"] else [line]

    def _here(self, text: str) -> str:
        assert self.address or ADDRESS not in text, "the README asks a service before it starts one"
        return text.replace(ADDRESS, self.address)

    def _done(self, command: list[str], block: Block) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"{block}: status {done.returncode}: {done.stderr}"
        return done.stdout

    def _serve(self, line: str, block: Block) -> None:
        """Start a service as a line says, on a free port; the first one is the one asked later."""
        command, port = re.sub(r" --port \d+", "", line), free_port()
        process = subprocess.Popen(
            [self.bash, "-c", f"exec env {command} --port {port}"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait, timeout=30)
        self._stack.callback(process.terminate)
        wait_until_ready(f"http://127.0.0.1:{port}", process, timeout_s=60)
        self.address = self.address or f"127.0.0.1:{port}"
        self.services += 1

    @staticmethod
    def _status(headers: Path) -> int:
        lines = [line for line in headers.read_text().splitlines() if line.startswith("HTTP/")]
        assert lines, "no answer"
        return int(lines[-1].split()[1])


@contextmanager
def reader(directory: Path) -> Iterator[Reader]:
    """A reader whose services end with the block."""
    with ExitStack() as stack:
        yield Reader(directory, stack)


def assert_same(shown: Any, real: Any, where: str) -> None:
    """A JSON value shown in the README is the real one: the same keys in the same order, and the
    same values, but for rounding, ids of results, moments, and lists cut short by "..."."""
    if isinstance(shown, dict):
        assert isinstance(real, dict), where
        assert list(shown) == list(real) or set(shown) == set(real), f"{where}: {set(real)}"
        for key, value in shown.items():
            if key in OF_THE_MOMENT or (key == "id" and "cut" in shown and value is not None):
                assert type(value) is type(real[key]), f"{where}.{key}"
            else:
                assert_same(value, real[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert isinstance(real, list), where
        cut_short = shown[-1:] == [REST]
        assert len(real) >= len(shown) if cut_short else len(real) == len(shown), where
        for index, value in enumerate(shown[:-1] if cut_short else shown):
            assert_same(value, real[index], f"{where}[{index}]")
    elif isinstance(shown, float):
        assert isinstance(real, float), where
        assert math.isclose(shown, real, rel_tol=1e-4), f"{where} is {real}, not {shown}"
    else:
        assert shown == real, f"{where} is {real!r}, not {shown!r}"


def tables(heading: str) -> list[list[str]]:
    """The rows of all tables whose head starts with a word."""
    found = re.findall(rf"^\| {heading} \|.*\n\|[ |-]*\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found, f"no table of {heading}"
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for table in found
        for line in table.splitlines()
    ]


def code(text: str) -> list[str]:
    """What stands between backquotes, outside of fenced blocks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", prose)


def test_every_command_does_what_the_readme_shows(tmp_path: Path) -> None:
    """Every block of shell or Python runs in order against the service that `make run` starts,
    with exit status 0 and a status of success unless another is shown, and what is shown as
    output is what comes."""
    with reader(tmp_path) as follower:
        for block in blocks():
            output = follower.follow(block)
            if block.shown is None:
                continue
            if block.shown.language == "json":
                assert_same(json.loads(block.shown.text), json.loads(output), str(block.shown))
            else:
                assert output == block.shown.text, str(block.shown)
        assert follower.services >= 2


def test_commands_are_those_there_are(tmp_path: Path) -> None:
    """Every `make` target and every command of `kerf` that the README names exists, every one that
    exists is named, and so are the options of `kerf serve` with their defaults."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    uses = [text.split() for text in code(README)]
    assert {words[1] for words in uses if words[0] == "make" and words[1:]} == targets
    with reader(tmp_path) as follower:
        for target in targets:
            follower.targets_commands(target)
    commands = {
        command.name or command.callback.__name__: command.callback
        for command in cli.main.registered_commands
        if command.callback is not None
    }
    shown = {words[1]: words[2:] for words in uses if words[0] == "kerf" and words[2:]}
    groups = {group.name for group in cli.main.registered_groups}
    named = {words[1] for words in uses if words[0] == "kerf" and words[1:]}
    assert named == commands.keys() | groups
    defaults = inspect.signature(commands["serve"]).parameters
    assert shown["serve"] == [
        word for name, field in defaults.items() for word in (f"--{name}", str(field.default))
    ]
    assert shown["demo"][0].removeprefix("--") in inspect.signature(commands["demo"]).parameters
    assert f"{defaults['host'].default}:{defaults['port'].default}" == ADDRESS


def test_settings_are_those_there_are() -> None:
    """The table of settings has every field of the settings with its default, and no other."""
    shown = {code(row[0])[0]: row[1].strip("`") for row in tables("Variable")}
    assert shown == {
        f"KERF_{name}".upper(): "unset" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_problem_types_are_those_there_are() -> None:
    """The table of errors has every type of problem with its status, and no other."""
    shown = {(code(row[0])[0], int(row[1])) for row in tables("Type")}
    domain = {(kind, status) for status, kind, _ in STATUS_AND_TITLE.values()}
    http = {(kind, status) for status, (kind, _) in _HTTP_KINDS.items()}
    assert shown == domain | http | {("invalid-request", 422), ("internal-error", 500)}


def test_calls_are_those_there_are(tmp_path: Path) -> None:
    """The table of calls has every call of the OpenAPI document, and no other."""
    paths = create_app(Settings(data_dir=tmp_path)).openapi()["paths"]
    assert {code(row[0])[0] for row in tables("Call")} == {
        f"{method.upper()} {path}" for path, methods in paths.items() for method in methods
    }


def test_fields_of_a_split_are_those_there_are() -> None:
    """Every field of `POST /split` stands in the README, the optional ones in the table with their
    defaults, and no other."""
    fields = dict(_fields(SplitIn))
    shown: dict[str, str] = {}
    for row in tables("Field"):
        names, defaults = code(row[0]), row[1].replace("`", "").split(", ")
        shown |= dict(zip(names, defaults * (len(names) // len(defaults)), strict=True))
    assert set(shown) == {name for name, field in fields.items() if not field.is_required()}
    for name, default in shown.items():
        value = fields[name].get_default()
        if value is not None and fields[name].default_factory is None:
            assert json.loads(default) == value if type(value) is not str else default == value, (
                name
            )
    section = README.partition("### Asking for a cut")[2].partition("| Field |")[0]
    assert set(code(section)) == {name for name, field in fields.items() if field.is_required()}


def test_paths_are_those_there_are() -> None:
    """Every file and directory that the README names in the layout, in a link or by its path is
    there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    layout = [path for row in tables("Path") for path in code(row[0])]
    named = [text for text in code(README) if re.fullmatch(r"(app|tests|alembic)/[\w./]*", text)]
    assert links
    assert layout
    for path in {*links, *layout, *named}:
        assert (ROOT / path).exists(), path


def test_the_five_lines_price_as_the_service_does(
    client: httpx.Client, demo_model: dict[str, Any]
) -> None:
    """The README's function over the rows of `/cuts` finds the value of the optimum in 300 random
    scenarios with a device no faster than the server."""
    seconds = the_five_lines()
    draw = random.Random(20)
    cuts = client.get(f"/models/{demo_model['id']}/cuts").json()["cuts"]
    bodies, least = [], []
    for _ in range(300):
        device = 10 ** draw.uniform(7, 13)
        server = device * 10 ** draw.uniform(0, 5)
        up, down = 10 ** draw.uniform(4, 10), 10 ** draw.uniform(4, 10)
        rest = {"batch_size": draw.randint(1, 64), "local_iterations": draw.randint(1, 20)}
        trip, ratio = draw.choice((0.0, 0.05)), draw.choice((1.0, 2.0))
        link = {"uplink_bits_per_s": up, "downlink_bits_per_s": down, "round_trip_s": trip}
        body = scenario("", device={"flops_per_s": device}, server={"flops_per_s": server})
        del body["model_id"]
        bodies.append({**body, "link": link, "backward_ratio": ratio, **rest})
        batches, iterations = (
            rest["batch_size"] / demo_model["model_batch"],
            rest["local_iterations"],
        )
        arguments = (device, server, up, down, trip, batches, iterations, ratio)
        least.append(min(seconds(cut, *arguments) for cut in cuts))
    response = client.post("/split/batch", json={"model_id": demo_model["id"], "scenarios": bodies})
    assert response.status_code == 200, response.text
    values = [answer["objective_value"] for answer in response.json()["answers"]]
    assert values == pytest.approx(least, rel=1e-9)


def the_five_lines() -> Callable[..., float]:
    """The README's function, whose body must be five statements."""
    trees = [ast.parse(block.text) for block in blocks() if block.language == "python"]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    (function,) = functions
    lines = [(statement.lineno, statement.end_lineno) for statement in function.body]
    assert len(lines) == 5
    assert all(start == end for start, end in lines)
    names: dict[str, Any] = {}
    exec(compile(ast.Module([function], []), "README.md", "exec"), names)
    found: Callable[..., float] = names[function.name]
    return found


def _fields(body: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The fields of a body and of the bodies in it, by their paths."""
    for name, field in body.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field
