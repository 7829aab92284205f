"""An image's root file system and configuration, and containers of it, with no daemon to run them.

What a container runtime would do is done with the tools of util-linux, as root: namespaces for
mounts and processes, a root file system that cannot be written, the image's volumes and /tmp as
file systems of their own, its user, no capabilities, no way to new ones. The network is the
machine's.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.processes import status, tree

BUILDAH = ("buildah", "--storage-driver", "vfs")
DEVICES = ("null", "zero", "full", "random", "urandom")

# The arguments: root, uid, gid, and after them what to run. Mounts end with their namespace.
START = f"""
set -e
root=$1 uid=$2 gid=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in {" ".join(DEVICES)}; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
for volume in /tmp $VOLUMES; do
    mount -t tmpfs -o "mode=0700,uid=$uid,gid=$gid,nosuid,nodev" tmpfs "$root$volume"
done
for socket in $SOCKETS; do
    touch "$root/tmp/${{socket##*/}}"
    mount --bind "$socket" "$root/tmp/${{socket##*/}}"
done
mount -o remount,bind,ro "$root"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: where its files are, and what its Dockerfile says besides."""

    root: Path
    config: Mapping[str, Any]

    @property
    def user(self) -> tuple[int, int]:
        """The numbers of user and group that it runs as."""
        uid, _, gid = str(self.config["User"]).partition(":")
        return int(uid), int(gid)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(variable.split("=", 1) for variable in self.config["Env"])

    @property
    def command(self) -> list[str]:
        """What it runs if nothing else is said."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @cached_property
    def nbytes(self) -> int:
        """Of all its files, as they lie on a disk."""
        return nbytes_of(self.root)

    def packages(self) -> dict[str, str]:
        """Debian's packages in it with their versions."""
        done = subprocess.run(
            ["chroot", self.root, "dpkg-query", "-W", "-f", "${Package} ${Version}\n"],
            check=True,
            capture_output=True,
            text=True,
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def distributions(self) -> dict[str, str]:
        """The distributions of Python in the environment that Kerf runs in, with their versions."""
        found = (self.root / "opt/kerf/lib").glob("python3.*/site-packages/*.dist-info")
        return dict(sorted(path.stem.rsplit("-", 1) for path in found))

    def programs(self) -> Iterator[Path]:
        """Every file in it that may be executed, by its place in the image."""
        for directory, _, names in os.walk(self.root):
            for name in names:
                path = Path(directory, name)
                if path.is_symlink() or path.stat().st_mode & 0o111:
                    yield Path("/") / path.relative_to(self.root)


def nbytes_of(root: Path) -> int:
    """Bytes of the files under a directory; of those with several names, once."""
    seen: dict[tuple[int, int], int] = {}
    for directory, _, names in os.walk(root):
        for name in names:
            found = Path(directory, name).lstat()
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


@contextmanager
def unpacked(tag: str) -> Iterator[Image]:
    """An image of Docker's, where its daemon answers, or else of buildah's."""
    docker = shutil.which("docker")
    has_daemon = docker and subprocess.run([docker, "info"], capture_output=True).returncode == 0
    with _of_docker(tag) if has_daemon else _of_buildah(f"localhost/{tag}") as image:
        yield image


@contextmanager
def _of_docker(tag: str) -> Iterator[Image]:
    config = json.loads(_output("docker", "image", "inspect", tag))[0]["Config"]
    container = _output("docker", "create", tag).strip()
    try:
        with tempfile.TemporaryDirectory(prefix="kerf-image-") as directory:
            archive = Path(directory, "image.tar")
            _output("docker", "export", "--output", str(archive), container)
            root = Path(directory, "root")
            root.mkdir()
            _output("tar", "-xpf", str(archive), "-C", str(root))
            yield Image(root, config)
    finally:
        _output("docker", "rm", container)


@contextmanager
def _of_buildah(tag: str) -> Iterator[Image]:
    config = json.loads(_output(*BUILDAH, "inspect", "--type", "image", tag))["Docker"]["config"]
    container = _output(*BUILDAH, "from", "--pull-never", tag).strip()
    try:
        yield Image(Path(_output(*BUILDAH, "mount", container).strip()), config)
    finally:
        _output(*BUILDAH, "rm", container)


def transferred_bytes(tag: str) -> int:
    """What a registry keeps of an image and sends: its layers, compressed. Of buildah's only."""
    with tempfile.TemporaryDirectory(prefix="kerf-layers-") as directory:
        _output(*BUILDAH, "push", "--quiet", f"localhost/{tag}", f"dir:{directory}")
        return nbytes_of(Path(directory))


@dataclass(frozen=True)
class Container:
    """A process that runs from an image."""

    image: Image
    pid: int
    environment: Mapping[str, str]

    @property
    def status(self) -> dict[str, str]:
        """What Linux says of the process."""
        return status(self.pid)

    def mount_options(self, place: str = "/") -> list[str]:
        """How the file system at a place of the container is mounted."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        (found,) = (line.split()[5] for line in lines if line.split()[4] == place)
        return found.split(",")

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in it, as `docker exec` does."""
        return subprocess.run(
            [
                *("nsenter", "--target", str(self.pid), "--mount", "--pid", "--root", "--wd"),
                *_as_user(self.image, self.environment, command),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def said(self, *command: str) -> str:
        """The output of a command in it, which must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.returncode} {done.stderr}"
        return done.stdout


@dataclass
class Started:
    """A container, and the process that waits for it."""

    container: Container
    waiter: "subprocess.Popen[bytes]"

    def end(self, timeout_s: float = 30) -> int:
        """Tell it to end, as a runtime does; its exit status."""
        os.kill(self.container.pid, signal.SIGTERM)
        return self.waiter.wait(timeout_s)


@contextmanager
def started(
    image: Image,
    *arguments: str,
    log: Path,
    entrypoint: Sequence[str] | None = None,
    sockets: Sequence[Path] = (),
    **variables: str,
) -> Iterator[Started]:
    """A container of an image, killed when the block ends. ``arguments`` follow its command, or
    ``entrypoint``; ``sockets`` of this machine are in its /tmp."""
    environment = {**image.environment, **variables}
    command = [*(image.command if entrypoint is None else entrypoint), *arguments]
    uid, gid = image.user
    with log.open("ab") as output:
        waiter = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("sh", "-c", START, "sh", str(image.root), str(uid), str(gid)),
                *_as_user(image, environment, command),
            ],
            env={
                **os.environ,
                "VOLUMES": " ".join(image.config.get("Volumes") or {}),
                "SOCKETS": " ".join(map(str, sockets)),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    pid = 0
    try:
        pid = _first_process(waiter, uid)
        yield Started(Container(image, pid, environment), waiter)
    finally:
        # Whoever takes on another user is no longer killed with its parent.
        for each in (pid, waiter.pid):
            if each and waiter.poll() is None:
                os.kill(each, signal.SIGKILL)
        waiter.wait(30)


def _first_process(waiter: "subprocess.Popen[bytes]", uid: int) -> int:
    """The id of the container's process, once it is the user that it is to be."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for pid in tree(waiter.pid)[1:]:
            if status(pid).get("Uid", "").split()[:1] == [str(uid)]:
                return pid
        if waiter.poll() is not None:
            break
        time.sleep(0.01)
    raise AssertionError(f"the container did not start (status {waiter.poll()})")


def _as_user(image: Image, environment: Mapping[str, str], command: Sequence[str]) -> list[str]:
    """A command of the image's, run as its user, with the image's own programs."""
    uid, gid = image.user
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"),
        *("--bounding-set=-all", "--inh-caps=-all"),
        *("env", "-i", f"--chdir={image.config['WorkingDir']}"),
        *(f"{name}={value}" for name, value in environment.items()),
        *command,
    ]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout
