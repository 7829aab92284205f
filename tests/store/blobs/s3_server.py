"""A real S3 server: ``rclone serve s3`` in a process of its own, over a directory.

It takes signed requests only, and replaces objects whole.
"""

import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.demo.demo import free_port

ACCESS_KEY = "kerf-tests"
SECRET_KEY = "not-a-real-secret"
BUCKET = "kept"
RCLONE = Path(sysconfig.get_path("scripts")) / "rclone"
START_S = 30


@dataclass
class S3Server:
    """The process, its URL, and the directory whose directories are its buckets."""

    url: str
    directory: Path
    process: "subprocess.Popen[bytes]"


def variables(url: str) -> Mapping[str, str]:
    """The environment of a client of a server at a URL, that nothing else can change."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A server with one empty bucket, until the block ends."""
    (directory / BUCKET).mkdir(parents=True)
    address = f"127.0.0.1:{free_port()}"
    command = [str(RCLONE), "serve", "s3", "--config=", f"--addr={address}"]
    keys = f"--auth-key={ACCESS_KEY},{SECRET_KEY}"
    with (directory.parent / f"{directory.name}.log").open("wb") as log:
        process = subprocess.Popen([*command, keys, str(directory)], stdout=log, stderr=log)
    try:
        _wait_until_it_listens(address, process)
        yield S3Server(f"http://{address}", directory, process)
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(address: str, process: "subprocess.Popen[bytes]") -> None:
    host, _, port = address.partition(":")
    give_up_at = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            return
        except OSError:
            assert process.poll() is None, "rclone has ended"
            assert time.monotonic() < give_up_at, "rclone does not listen"
            time.sleep(0.02)
