"""A real S3 server: ``rclone serve s3`` in a process of its own, which holds objects in memory.

It takes signed requests only. In memory, because over a directory it removes an object before it
moves the next one into its place, so that puts at the same time fail.
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

import boto3

from app.demo.demo import free_port

ACCESS_KEY = "kerf-tests"
SECRET_KEY = "not-a-real-secret"
BUCKET = "kept"
RCLONE = Path(sysconfig.get_path("scripts")) / "rclone"
START_S = 30


@dataclass
class S3Server:
    """The process, and its URL."""

    url: str
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
def s3_server(log_path: Path) -> Iterator[S3Server]:
    """A server with one empty bucket, until the block ends."""
    address = f"127.0.0.1:{free_port()}"
    command = [str(RCLONE), "serve", "s3", "--config=", f"--addr={address}"]
    keys = f"--auth-key={ACCESS_KEY},{SECRET_KEY}"
    with log_path.open("wb") as log:
        process = subprocess.Popen([*command, keys, ":memory:"], stdout=log, stderr=log)
    try:
        _wait_until_it_listens(address, process)
        _make_bucket(f"http://{address}")
        yield S3Server(f"http://{address}", process)
    finally:
        process.kill()
        process.wait()


def _make_bucket(url: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)


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
