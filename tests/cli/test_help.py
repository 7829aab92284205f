"""What the commands say of themselves, and what they load to say it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app import __version__
from app.api.schemas import ScenarioIn, SplitIn
from app.cli import faults, main
from app.cli.field_table import CHOOSING, SCENARIO
from tests.cli.running import RATES, ROOT, kerf, kerf_process
from tests.server import DEMO_BYTES, Server, uploaded

COMMANDS = {
    "upload": ("--name", "--dim", "--model-batch", "--parameter", "--send-weights"),
    "models": ("--delete",),
    "split": (
        "--request",
        "--include-nodes",
        "--sensitivity",
        "--dim",
        "--model-batch",
        "--parameter",
    ),
    "cuts": ("--dim", "--model-batch", "--parameter"),
    "cut": ("--split", "--output", "-o", "--download"),
    "verify": ("--split", "--halves", "--seed", "--input"),
    "calibrate": (
        *("--dim", "--model-batch", "--parameter", "--threads", "--seconds", "--seed", "--input"),
        *("--name", "--json", "--url"),
    ),
    "profiles": ("--add", "--delete"),
    "presets": ("--json",),
    "run-device": (
        *("--server", "--rounds", "--warm-up", "--threads", "--exact", "--check", "--seed"),
        *("--input", "--dim", "--parameter", "--retries", "--wait", "--timeout", "--json"),
    ),
    "run-server": ("--host", "--port", "--threads", "--exact", "--timeout", "--max-size", "--json"),
    "bench-link": ("--seconds",),
    "keys": ("create", "list", "revoke"),
    "serve": ("--host", "--port", "--workers"),
    "migrate": (),
    "demo": ("--url",),
}
OF_A_SERVICE = ("upload", "models", "split", "cuts", "cut", "verify", "profiles", "bench-link")


def test_help_names_the_commands() -> None:
    """`kerf --help`, and `kerf` alone, list the commands with what each does, and what the exit
    status means."""
    for arguments, status in ((("--help",), 0), ((), 2)):
        done = kerf_process(*arguments)
        assert done.status == status
        told = done.stdout + done.stderr
        for command in COMMANDS:
            assert re.search(rf"│ {command} +[A-Z]", told), command
        for code in (faults.NO, faults.BAD_INPUT, faults.REFUSED, faults.NO_SERVICE):
            assert re.search(rf"; {code} \w", told), code
        for code in (faults.MACHINE, faults.BUG, faults.STOPPED):
            assert re.search(rf"; {code} \w", told), code


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_explain_themselves(command: str) -> None:
    """Each command's help says what it does and lists its options, those of programs and of the
    service's address among them where it asks one."""
    done = kerf(command, "--help")
    assert (done.status, done.stderr) == (0, "")
    options = [*COMMANDS[command]]
    if command in OF_A_SERVICE:
        options += ["--json", "--url"]
        assert "KERF_URL" in done.stdout
    for option in options:
        assert re.search(rf"{option}\b", done.stdout), option
    assert set(re.findall(r"(--[a-z-]+)", done.stdout)) - {"--help"} >= {
        option for option in options if option.startswith("--")
    }


def test_commands_are_those_listed_here() -> None:
    """The table of commands above has every command that there is."""
    names = [
        each.name or each.callback.__name__ for each in main.registered_commands if each.callback
    ]
    names += [group.name for group in main.registered_groups if group.name]
    assert sorted(names) == sorted(COMMANDS)


def test_version() -> None:
    """`kerf --version` says which it is."""
    assert kerf("--version").stdout == f"{__version__}\n"


def _fields(body: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in body.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def test_every_field_of_a_split_has_an_option() -> None:
    """Each field of POST /split but the model's id has an option of `kerf split`, each of a
    scenario one of `kerf cuts`, and no option fills in anything else."""
    assert {option.path for option in SCENARIO} == {name for name, _ in _fields(ScenarioIn)}
    both = {option.path for option in (*SCENARIO, *CHOOSING)}
    assert both == {name for name, _ in _fields(SplitIn)} - {"model_id"}
    for command, options in (("split", (*SCENARIO, *CHOOSING)), ("cuts", SCENARIO)):
        told = kerf(command, "--help").stdout
        assert all(f"{option.flag} " in told for option in options)


def test_defaults_in_the_help_are_those_of_the_fields() -> None:
    """Where a field has a default other than nothing, its option's help states that."""
    fields: dict[str, Any] = dict(_fields(SplitIn))
    for option in (*SCENARIO, *CHOOSING):
        default = fields[option.path].get_default(call_default_factory=True)
        if option.kind in ("flag", "names") or fields[option.path].is_required():
            assert option.default is None
        elif isinstance(default, str):
            assert option.default == default
        elif default is not None and default != []:
            assert option.default is not None, option
            assert float(option.default) == default


HEAVY = ("onnx", "onnxruntime", "ortools", "fastapi", "sqlalchemy", "scipy", "networkx", "uvicorn")


def test_commands_that_only_ask_load_nothing_heavy(server: Server) -> None:
    """The help, and the commands that leave the work to a service, load no onnx, no solver, no web
    framework and no database."""
    model_id = uploaded(server.client(), DEMO_BYTES)["id"]
    for arguments in (
        ("--help",),
        ("split", "--help"),
        ("models",),
        ("models", model_id, "--json"),
        ("upload", "app/demo/mobilenet_v2.onnx", "--send-weights"),
        ("split", model_id, *RATES),
        ("cuts", model_id),
        ("profiles",),
        ("presets",),
        ("calibrate", "--help"),
        ("run-device", "--help"),
        ("bench-link", "--seconds", "0.1"),
    ):
        script = f"""
import sys
from app.cli import main
try:
    main({[*arguments]!r})
except SystemExit as ending:
    assert ending.code == 0, ending.code
loaded = {HEAVY!r} & {{name.partition(".")[0] for name in sys.modules}}
assert not loaded, loaded
""".replace(repr(HEAVY), repr({*HEAVY}))
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"KERF_URL": server.url, "PATH": str(Path(sys.executable).parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)


def test_wrong_use_is_told_briefly() -> None:
    """A command or option that is not there, a value of another kind, and one too few or too many
    end with status 2 and a sentence that names it."""
    for arguments, named in (
        (("splat",), "splat"),
        (("serve", "--port", "70000"), "65535"),
        (("serve", "--prot", "1"), "--prot"),
        (("serve", "--workers", "0"), "--workers"),
        (("split",), "MODEL"),
        (("split", "m", "--batch-size", "many"), "--batch-size"),
        (("split", "m", "--device", "quick"), "write it as 5e9 or 5G"),
        (("split", "m", "--device", "jetson-tx2"), "--device-preset"),
        (("split", "m", "--server", "a100"), "--server-preset"),
        (("split", "m", "--rtt", "10m"), "10ms"),
        (("upload", "a.onnx", "b.onnx"), "b.onnx"),
        (("upload", "a.onnx", "--dim", "sequence"), "sequence=128"),
        (("upload", "a.onnx", "--dim", "n=1", "--dim", "n=2"), "twice"),
        (("upload", "a.onnx", "--dim", "n=-1"), "NAME=N"),
        (("models", "m", "--delete", "n"), "--delete"),
        (("cut", "--split", "s", "-o", "halves"), "--download"),
        (("cut", "a.onnx", "--split", "s", "-o", "halves", "--download"), "--download"),
        (("cut", "a.onnx", "-o", "halves"), "--split"),
        (("verify", "a.onnx"), "--split"),
        (("cuts", "m", "--mode", "dreaming"), "training, inference"),
        (("split", "m", "--dim", "n=1"), "goes with a file"),
        (("cuts", "m", "--model-batch", "2"), "goes with a file"),
        (("split", "m", "--current-split", "s", "--current-on-device"), "--current-on-device"),
        (("bench-link", "--seconds", "0"), "--seconds"),
        (("calibrate",), "FILE"),
        (("calibrate", "a.onnx", "--seconds", "0"), "--seconds"),
        (("calibrate", "a.onnx", "--threads", "0"), "--threads"),
        (("calibrate", "a.onnx", "--name", ""), "--name"),
        (("calibrate", "a.onnx", "b.onnx", "--input", "x.npz"), "--input"),
        (("profiles", "p", "--delete", "q"), "--delete"),
        (("profiles", "--add", "p.json", "--delete", "q"), "--delete"),
        (("run-server",), "HALF"),
        (("run-device", "d.onnx", "--rounds", "0"), "--rounds"),
        (("run-device", "d.onnx", "--server", "h:p"), "HOST:PORT"),
    ):
        done = kerf(*arguments)
        assert done.status == faults.BAD_INPUT, (arguments, done)
        assert done.stdout == ""
        assert named in " ".join(done.stderr.split()), (arguments, done.stderr)
        if arguments[0] not in ("splat", "serve"):
            told = kerf(*arguments, "--json")
            assert (told.status, told.problem["type"]) == (faults.BAD_INPUT, "usage")
            assert named in told.problem["detail"]
