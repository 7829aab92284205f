"""docker-compose.yml."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.settings import Settings
from tests.deploy.files import ROOT, compose, final

SERVICES = ("database", "migrate", "kerf")


def service(name: str) -> dict[str, Any]:
    """A service of the file."""
    found: dict[str, Any] = compose()["services"][name]
    return found


def test_it_is_what_compose_reads() -> None:
    """The file satisfies the schema of the Compose specification."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("check-jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(compose()["services"]) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_privileges(name: str) -> None:
    """Every service runs on a read-only root file system, without capabilities or ways to new ones,
    and not as root."""
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(found)
    assert re.match(r"[1-9]\d*:", found.get("user", *final("USER")))
    assert any(place.startswith("/tmp") for place in found["tmpfs"])


def test_migration_is_a_step_of_its_own() -> None:
    """The migration waits for a healthy database, and Kerf for a migration that went well."""
    assert service("migrate")["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert service("migrate")["command"] == ["migrate"]
    assert service("kerf")["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }
    assert "command" not in service("kerf")
    for name in ("database", "kerf"):
        assert service(name)["healthcheck"]["test"][0] == "CMD"


def test_both_run_this_version() -> None:
    """Migration and service are of one image, this version's, built from this directory, and by one
    of them only: two that build it at a time get in each other's way."""
    for name in ("migrate", "kerf"):
        assert service(name)["image"] == f"kerf:{__version__}"
        assert service(name)["pull_policy"] == "never"
    assert service("kerf")["build"] == "."
    assert "build" not in service("migrate")


def test_no_secret_is_in_it() -> None:
    """The password comes from outside, under one name, and nothing starts without it."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    names = set(re.findall(r"\$\{?(\w+)", text))
    assert names == {"POSTGRES_PASSWORD"}
    assert len(re.findall(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", text)) == text.count("${")
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_only_this_machine_reaches_it() -> None:
    """Kerf has no TLS, so its port is this machine's own; the database's is nobody's."""
    (port,) = service("kerf")["ports"]
    assert port == f"127.0.0.1:8000:{final('EXPOSE')[0]}"
    assert "ports" not in service("database")


def test_data_outlive_containers() -> None:
    """What is to stay is in named volumes: the database where PostgreSQL 18 has it, and Kerf's data
    directory."""
    named = compose()["volumes"]
    mounts = [volume for name in SERVICES for volume in service(name).get("volumes", ())]
    assert {volume.partition(":")[0] for volume in mounts} == set(named)
    assert service("database")["image"] == "postgres:18"
    assert service("database")["volumes"] == ["database:/var/lib/postgresql"]
    assert service("kerf")["volumes"] == ["data:/data"]


def test_memory_is_enough() -> None:
    """The limit of memory holds the cache, every process that reads a model at its own limit, and
    half a gigabyte for the service."""
    found = service("kerf")
    variables = {
        name.removeprefix("KERF_").lower(): value for name, value in found["environment"].items()
    }
    settings = Settings(**variables)
    readers = settings.ingest_workers * settings.ingest_memory_bytes
    assert found["mem_limit"].endswith("g")
    limit = int(found["mem_limit"].removesuffix("g")) * 2**30
    assert limit >= settings.cache_bytes + readers + 2**29
