"""Try the image that scripts/build_image.sh has built: ``python -m tests.deploy.try_image``.

A container of it is started as Kubernetes would: by its own user, with a root file system that
cannot be written, without capabilities. It has to answer, as README.md shows it, and to end when
told to; then the same on PostgreSQL, where migrations are a step of their own. Prints what is in
the image. Needs root.
"""

import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from app import __version__
from app.demo.demo import free_port
from tests.databases import OwnPostgresql
from tests.deploy.image import (
    Container,
    Image,
    Started,
    nbytes_of,
    started,
    transferred_bytes,
    unpacked,
)
from tests.keys import client_with
from tests.processes import resident_bytes, status, tree
from tests.server import DEMO_BYTES, scenario, split, uploaded

TAG = f"kerf:{__version__}"
END_S = 10
"""That a container without requests may take to end."""
BUILDERS = re.compile(
    r"([\w.]+-)*(cc|c\+\+|cpp|gcc|g\+\+|clang|clang\+\+|tcc|cc1|cc1plus|collect2|gfortran|as"
    r"|ld|ld\.(bfd|gold|lld)|make|gmake|cmake|ninja|go|rustc|cargo|javac)(-[\d.]+)?"
)
"""Names of what makes programs."""
BUILDER_PACKAGES = re.compile(
    r"(gcc|g\+\+|cpp|clang|gfortran)(-\d+)?|binutils.*|build-essential|make|cmake|.*-dev"
)
"""Names of Debian's packages that bring it (gcc-12-base holds nothing but its licence)."""


def try_image(tag: str) -> None:
    """Try it, and print what was found. Raises ``AssertionError``."""
    assert os.geteuid() == 0, "a container is started as root"
    with unpacked(tag) as image, tempfile.TemporaryDirectory(prefix="kerf-try-") as directory:
        report_contents(image, tag)
        log = Path(directory, "log.txt")
        try:
            try_on_sqlite(image, log)
            try_on_postgresql(image, log)
        except BaseException:
            print(log.read_text())
            raise
        assert "Traceback" not in log.read_text(), log.read_text()


def report_contents(image: Image, tag: str) -> None:
    """Its size and packages; nothing in it makes programs."""
    environment, kerf = nbytes_of(image.root / "opt/kerf"), nbytes_of(image.root / "app")
    say(f"{tag}: {image.nbytes / 1e6:.0f} MB, {transferred_bytes(tag) / 1e6:.0f} MB compressed")
    rest = image.nbytes - environment - kerf
    say(
        f"  base {rest / 1e6:.0f} MB, Python packages {environment / 1e6:.0f} MB, "
        f"Kerf {kerf / 1e6:.1f} MB"
    )
    packages, distributions = image.packages(), image.distributions()
    for title, named in (("Debian's", packages), ("Python", distributions)):
        say(f"  {len(named)} {title} packages: {' '.join(f'{a}={b}' for a, b in named.items())}")
    builders = [str(path) for path in image.programs() if BUILDERS.fullmatch(path.name)]
    assert builders == [], builders
    assert [name for name in packages if BUILDER_PACKAGES.fullmatch(name)] == []
    assert not {"pip", "setuptools", "wheel"} & set(distributions)
    say("  nothing in it compiles, links or installs for Kerf's environment")


def try_on_sqlite(image: Image, log: Path) -> None:
    """As it is started if nothing else is said: SQLite in its volume, keys."""
    with serving(image, log) as (running, url):
        container = running.container
        check_confinement(container)
        assert httpx.get(f"{url}/models").status_code == 401
        health = image.config["Healthcheck"]["Test"]
        assert health[0] == "CMD"
        # The image's own, asked at the port that this container has.
        container.said(*(word.replace(":8000/", f":{httpx.URL(url).port}/") for word in health[1:]))
        check_answers(container, url)
        memory = resident_bytes(tree(container.pid))
        say(f"  SQLite: /split answered, {memory / 2**20:.0f} MiB resident in all its processes")
        check_end(running)


def try_on_postgresql(image: Image, log: Path) -> None:
    """As in Kubernetes: not ready before `kerf migrate` has been run, in a container of its own."""
    server = OwnPostgresql()
    try:
        url = make_url(server.new_database(migrated=False))
        directory = url.query["host"]
        assert isinstance(directory, str)
        sockets = (Path(directory, ".s.PGSQL.5432"),)
        inside = url.set(query={"host": "/tmp"}).render_as_string(hide_password=False)
        with serving(image, log, "/healthz", sockets, KERF_DATABASE_URL=inside) as served:
            running, address = served
            assert httpx.get(f"{address}/readyz").status_code == 503
            migrate = [*image.config["Entrypoint"], "migrate"]
            with started(
                image, log=log, entrypoint=migrate, sockets=sockets, KERF_DATABASE_URL=inside
            ) as job:
                assert job.waiter.wait(60) == 0
            wait_for(f"{address}/readyz", running)
            check_answers(running.container, address)
            say("  PostgreSQL: ready after kerf migrate, /split answered")
            check_end(running)
    finally:
        server.end()


def check_confinement(container: Container) -> None:
    """It is the image's user, has no capabilities and no way to any, and cannot write but where it
    should."""
    found = container.status
    uid, gid = container.image.user
    assert uid >= 10_000
    assert set(found["Uid"].split()) == {str(uid)}
    assert set(found["Gid"].split()) == {str(gid)}
    assert found["Groups"] == ""
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[capabilities], 16) == 0, capabilities
    assert found["NoNewPrivs"] == "1"
    assert "ro" in container.mount_options()
    for place in ("/", "/app", "/app/app", "/opt/kerf/bin", "/etc", "/usr", "/var", "/root"):
        done = container.run("touch", f"{place}/written")
        assert done.returncode != 0, place
        assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    for place in ("/data", "/tmp"):
        container.said("touch", f"{place}/written")
        container.said("rm", f"{place}/written")
    say(f"  runs as {uid}:{gid}, read-only, without capabilities")


def check_answers(container: Container, url: str) -> None:
    """With a key that is made in it, the first split of README.md is answered as it says there."""
    scopes = [f"--scope={scope}" for scope in ("models:write", "split", "read")]
    key = container.said("kerf", "keys", "create", "--name=try", "--tenant=try", *scopes).strip()
    with client_with(url, key) as client:
        model = uploaded(client, DEMO_BYTES, "mobilenet_v2.onnx")
        answer = split(client, scenario(model["id"], mode="inference"))
    assert answer["cut"]["device_nodes"] == 38
    assert answer["delay"]["total_s"] == pytest.approx(0.0797305, rel=1e-5)
    assert answer["optimal"]
    # As the first process of its container it is also the parent of whoever has lost his.
    states = {pid: status(pid).get("State", "") for pid in tree(container.pid)}
    assert not [pid for pid, state in states.items() if state.startswith("Z")], states
    assert container.said("kerf", "--version").strip() == __version__


def check_end(running: Started) -> None:
    """Told to end, it does so by itself, and well."""
    begun = time.monotonic()
    assert running.end(END_S) == 0
    say(f"  ended {time.monotonic() - begun:.1f} s after SIGTERM, with status 0")


@contextmanager
def serving(
    image: Image,
    log: Path,
    path: str = "/readyz",
    sockets: Sequence[Path] = (),
    **variables: str,
) -> Iterator[tuple[Started, str]]:
    """A container that serves on a free port, once a path of it answers with 200."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(image, "--port", str(port), log=log, sockets=sockets, **variables) as running:
        wait_for(f"{url}{path}", running)
        yield running, url


def wait_for(url: str, running: Started, timeout_s: float = 60) -> None:
    """Return when a URL answers with 200."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert running.waiter.poll() is None, f"ended with status {running.waiter.returncode}"
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{shlex.quote(url)} did not answer with 200 in {timeout_s} s")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try_image(TAG)
