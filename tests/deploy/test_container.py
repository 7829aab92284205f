"""Dockerfile and what goes into the image. `make image` builds it and starts it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import ROOT, final, stages
from tests.deploy.try_image import BUILDER_PACKAGES, BUILDERS

SECRETS = ROOT / "scripts" / "pip_secrets.py"


def test_hadolint_finds_nothing() -> None:
    """hadolint has nothing to say about the Dockerfile and the shell in it."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_image_is_run_without_privileges() -> None:
    """The image's user is a number that is not root's; it serves on all addresses, with keys, from
    a directory of data that is a volume."""
    (user,) = final("USER")
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)
    assert json.loads(*final("ENTRYPOINT")) == ["kerf"]
    assert json.loads(*final("CMD")) == ["serve", "--host", "0.0.0.0"]
    variables = dict(word.split("=", 1) for word in shlex.split(" ".join(final("ENV"))))
    assert variables["KERF_AUTH"] == "keys"
    assert json.loads(*final("VOLUME")) == [variables["KERF_DATA_DIR"]]
    (health,) = final("HEALTHCHECK")
    assert "/healthz" in health


def test_the_image_is_built_elsewhere() -> None:
    """Whatever installs or compiles is in a stage of which the image takes only what was made."""
    build, image = stages()
    assert build[0].text.endswith(" AS build")
    assert image[0].text == "${BASE}"
    assert all(text.startswith("--from=build ") for text in final("COPY"))
    assert not re.search(r"\b(pip|apt|apt-get|curl|wget)\b", " ".join(final("RUN")))
    (install,) = (
        each.text for each in build if "requirements.txt" in each.text and each.name == "RUN"
    )
    for option in ("--require-hashes", "--only-binary :all:", "--no-cache-dir"):
        assert option in install


def test_nothing_is_copied_that_the_context_lacks(tmp_path: Path) -> None:
    """What .dockerignore lets in is what the Dockerfile copies; Kerf runs from these files alone,
    in directories that cannot be written, and its migrations are found."""
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {each.text.split()[0] for each in stages()[0] if each.name == "COPY"}
    assert ignore[1] == "*"
    assert let_in == copied
    for name in let_in - {"requirements.txt"}:
        shutil.copytree(
            ROOT / name, tmp_path / "app" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KERF_")},
        "KERF_DATA_DIR": str(tmp_path / "data"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    before = set((tmp_path / "app").rglob("*"))
    for arguments in (["migrate"], ["keys", "create", "--name=a", "--scope=read", "--tenant=a"]):
        subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=tmp_path / "app",
            env=environment,
            check=True,
            capture_output=True,
        )
    assert (tmp_path / "data" / "kerf.db").stat().st_size > 0
    assert set((tmp_path / "app").rglob("*")) == before


def test_pip_s_configuration_is_passed_on(tmp_path: Path) -> None:
    """What tells pip where packages come from goes into the build, certificates with it; what lies
    on this machine does not."""
    certificates = tmp_path / "ca.pem"
    certificates.write_text("certificates")
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://index.example/simple\nfind-links = /wheels\n"
        "extra-index-url = file:///packages https://more.example/simple\n"
        f"trusted-host = index.example\ncert = {certificates}\n"
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(
        [sys.executable, SECRETS, secrets],
        env={**kept, "PIP_CONFIG_FILE": str(configuration), "PIP_TIMEOUT": "7"},
        check=True,
    )
    assert (secrets / "certificates").read_text() == "certificates"
    lines = (secrets / "pip.conf").read_text().splitlines()
    assert {
        "index-url = https://index.example/simple",
        "extra-index-url = https://more.example/simple",
        "trusted-host = index.example",
        "timeout = 7",
        "cert = /run/secrets/certificates",
    } <= set(lines)
    assert not [line for line in lines if "find-links" in line or "file:" in line]


@pytest.mark.parametrize(
    ("name", "builds"),
    [
        *((name, True) for name in ("cc", "gcc", "gcc-12", "g++", "x86_64-linux-gnu-gcc-12", "ld")),
        *((name, True) for name in ("ld.bfd", "as", "make", "c89-gcc", "clang-14", "go", "cc1")),
        *((name, False) for name in ("ld.so", "python3.11", "ldconfig", "bash", "gcore", "base32")),
    ],
)
def test_compilers_are_known_by_their_names(name: str, builds: bool) -> None:
    """What `make image` looks for in the image are programs that make programs, and no others."""
    assert bool(BUILDERS.fullmatch(name)) is builds


@pytest.mark.parametrize(
    ("name", "builds"),
    [
        *((name, True) for name in ("gcc", "gcc-12", "g++-12", "cpp-12", "binutils", "libc6-dev")),
        *((name, True) for name in ("make", "binutils-common", "build-essential")),
        *((name, False) for name in ("gcc-12-base", "libgcc-s1", "makedev", "dpkg", "libc6")),
    ],
)
def test_packages_of_compilers_are_known_by_their_names(name: str, builds: bool) -> None:
    """So are the packages that bring such programs; gcc-12-base, which the C library depends on, is
    none of them."""
    assert bool(BUILDER_PACKAGES.fullmatch(name)) is builds
